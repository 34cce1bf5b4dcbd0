//! How late and how finely cut everything arrives: a list of choices, so that a failing one shrinks.

/// A source of small decisions. An exhausted one chooses 0: everything at once, in order.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    choices: Vec<u16>,
    next: usize,
    endless: Option<u64>,
}

impl Schedule {
    /// Everything at once, in order, without lag.
    #[must_use]
    pub fn prompt() -> Self {
        Self::default()
    }

    /// These choices, then prompt.
    #[must_use]
    pub const fn of(choices: Vec<u16>) -> Self {
        Self {
            choices,
            next: 0,
            endless: None,
        }
    }

    /// Choices without end from a seed (SplitMix64, Steele, Lea and Flood 2014).
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self {
            choices: Vec::new(),
            next: 0,
            endless: Some(seed),
        }
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let choice = match self.choices.get(self.next) {
            Some(choice) => {
                self.next += 1;
                usize::from(*choice)
            }
            None => match &mut self.endless {
                Some(state) => splitmix(state),
                None => 0,
            },
        };
        choice.checked_rem(bound).unwrap_or(0)
    }

    /// How many of `len` bytes (at least one, if there are any) arrive together.
    pub fn cut(&mut self, len: usize) -> usize {
        match self.below(4) {
            // Whole; few; about half a message; any.
            0 => len,
            1 => (1 + self.below(3)).min(len),
            2 => (1 + self.below(40)).min(len),
            _ => (1 + self.below(len)).min(len),
        }
    }
}

fn splitmix(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap_or(0)
}
