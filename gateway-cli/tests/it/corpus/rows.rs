//! How the corpora are written down.
//!
//! ```text
//! # a comment
//! let spelled = email ¦ "email"            a list; goes on in lines that begin with ` ¦ `
//! let cased = lower(§) ¦ upper(§)          with a hole
//! @ P03 Functions over the value           begins a group: row of the threat catalogue, title
//! ! tx                                     options of the group, up to the next one
//! select «spelled» from customers          one row for each entry
//! select «cased:email» from customers      one row for each entry, its hole filled
//! - select upper(ssn) from customers        not this one of the rows above: it tells nothing
//! begin ;; select 1 ;; commit              several steps
//! \P s|select 1 ;; \S                      steps that are messages: see `talk::Step`
//! ```
//!
//! `«n»` is a number of the row's own.

use std::collections::{BTreeMap, BTreeSet};

/// A row, its lists expanded.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Row of the threat catalogue.
    pub(super) threat: String,
    pub(super) title: String,
    pub(super) options: BTreeSet<String>,
    /// As written, before `«n»` is filled in.
    pub(super) text: String,
    /// Unique in its file.
    pub(super) number: usize,
}

impl Row {
    pub(super) fn is(&self, option: &str) -> bool {
        self.options.contains(option)
    }

    /// Its steps, as attempt `n` names things.
    pub(super) fn steps(&self, n: usize) -> Vec<String> {
        let text = self.text.replace("«n»", &format!("{}_{n}", self.number));
        text.split(" ;; ")
            .map(|step| step.trim().to_owned())
            .collect()
    }
}

/// All rows of a file, in order, each text once.
pub(super) fn parse(text: &str) -> Vec<Row> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut group = (String::new(), String::new(), BTreeSet::new());
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = String::new();
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(more) = line.trim_start().strip_prefix("¦ ") {
            let list = lists.get_mut(&open).expect("a list before its entries");
            list.extend(entries(more));
        } else if let Some(rest) = line.strip_prefix("let ") {
            let (name, first) = rest.split_once('=').expect("a list has `=`");
            open = name.trim().to_owned();
            lists.insert(open.clone(), entries(first));
        } else if let Some(rest) = line.strip_prefix("@ ") {
            let (threat, title) = rest.split_once(' ').expect("a group has a title");
            group = (threat.to_owned(), title.to_owned(), BTreeSet::new());
        } else if let Some(rest) = line.strip_prefix('!') {
            group.2 = rest.split_whitespace().map(str::to_owned).collect();
        } else if let Some(text) = line.strip_prefix("- ") {
            let before = rows.len();
            rows.retain(|row| row.text != text);
            assert!(rows.len() < before, "no such row to leave out: {text}");
        } else {
            for text in expand(line, &lists) {
                if seen.insert((group.2.clone(), text.clone())) {
                    rows.push(Row {
                        threat: group.0.clone(),
                        title: group.1.clone(),
                        options: group.2.clone(),
                        text,
                        number: seen.len(),
                    });
                }
            }
        }
    }
    rows
}

fn entries(text: &str) -> Vec<String> {
    let entries = text.split('¦').map(|entry| entry.trim().to_owned());
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// Every text that a line stands for. Innermost lists first.
fn expand(line: &str, lists: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut done = Vec::new();
    // Last in, first out; entries are pushed backwards to keep their order.
    let mut open = vec![line.to_owned()];
    while let Some(text) = open.pop() {
        let hidden = text.replace("«n»", "\u{1}");
        let Some((before, rest)) = hidden.split_once('»') else {
            done.push(text);
            continue;
        };
        let (before, inner) = before.rsplit_once('«').expect("`»` closes a `«`");
        let (name, argument) = inner.split_once(':').unwrap_or((inner, "§"));
        let list = lists.get(name);
        let list = list.unwrap_or_else(|| panic!("no list `{name}` for: {line}"));
        for entry in list.iter().rev() {
            let entry = entry.replace('§', argument);
            open.push(format!("{before}{entry}{rest}").replace('\u{1}', "«n»"));
        }
    }
    done
}

#[test]
fn lists_multiply() {
    let rows = parse(
        "let e = email ¦ \"email\"\nlet f = lower(§)\n  ¦ upper(§)\n@ P03 Title\n! tx\nselect «f:«e»»\n@ P04 Other\nbegin ;; table t«n»\n",
    );
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "select lower(email)",
            "select upper(email)",
            "select lower(\"email\")",
            "select upper(\"email\")",
            "begin ;; table t«n»",
        ]
    );
    assert_eq!((rows[0].threat.as_str(), rows[0].is("tx")), ("P03", true));
    assert_eq!(rows[4].steps(7), ["begin", "table t5_7"]);
}
