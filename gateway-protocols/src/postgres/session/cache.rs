//! Texts that this session has sent before, and what they do: answers in place, without a question
//! to the shell. Bounded in bytes; emptied when policy or catalogue change.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use gateway_core::wire::Analysed;

/// Exact text -> analysis, oldest out first.
#[derive(Debug)]
pub(super) struct Cache {
    known: BTreeMap<Arc<str>, Analysed>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The text as it is shared, and its analysis.
    pub(super) fn get(&self, text: &str) -> Option<(Arc<str>, Analysed)> {
        self.known
            .get_key_value(text)
            .map(|(text, known)| (Arc::clone(text), known.clone()))
    }

    pub(super) fn insert(&mut self, text: &Arc<str>, analysed: &Analysed) {
        let weight = weight(text, analysed);
        if weight > self.bytes_max {
            return;
        }
        while self.bytes.saturating_add(weight) > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(known) = self.known.remove(&oldest) {
                self.bytes -= self::weight(&oldest, &known);
            }
        }
        if self
            .known
            .insert(Arc::clone(text), analysed.clone())
            .is_none()
        {
            self.order.push_back(Arc::clone(text));
            self.bytes += weight;
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
        self.bytes = 0;
    }
}

/// Rough size in memory: the text, and what an analysis of it may hold.
fn weight(text: &str, analysed: &Analysed) -> usize {
    let analysis = &analysed.analysis;
    let parts = analysis.effects.len() + analysis.statements.len() + analysis.sensitive.len();
    text.len() + 256 + 128 * parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::session::plan::tests::analysed;

    #[test]
    fn stays_within_its_bytes_and_forgets_the_oldest() {
        let mut cache = Cache::new(1000);
        for n in 0..10 {
            cache.insert(&Arc::from(format!("select {n}")), &analysed());
            assert!(cache.bytes <= 1000);
        }
        assert!(cache.get("select 0").is_none());
        assert!(cache.get("select 9").is_some());
        cache.insert(&Arc::from("x".repeat(2000)), &analysed());
        assert!(
            cache.get("select 9").is_some(),
            "what can't fit evicts nothing"
        );
    }
}
