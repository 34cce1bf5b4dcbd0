//! Rust sources as text: comments, literals and tests blanked, `use` trees flattened.

use std::{fs, path::Path};

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &[
    "target",
    ".git",
    "corpus",
    "artifacts",
    "coverage",
    "node_modules",
];

/// One Rust file of the tree.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// Its text as it stands.
    pub(crate) text: String,
    /// Its code: no comments, no literals, no `#[cfg(test)]` items.
    pub(crate) code: String,
    /// Lines of the text.
    pub(crate) lines: usize,
}

impl File {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = without_tests(&blank(&text));
        let lines = text.lines().count();
        Self {
            path: path.into(),
            text,
            code,
            lines,
        }
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs")
    }

    /// One line per forbidden path that the code names, directly or through a `use`.
    pub(crate) fn names_any(&self, forbidden: &[&str]) -> Vec<String> {
        let used = uses(&self.code);
        let dense = dense(&self.code);
        forbidden
            .iter()
            .filter(|path| used.iter().any(|used| is_below(used, path)) || mentions(&dense, path))
            .map(|path| format!("{} names `{path}`", self.path))
            .collect()
    }
}

/// Every Rust file below `root/under`, sorted by path.
pub(crate) fn rust_files(root: &Path, under: &str) -> Vec<File> {
    let mut paths = Vec::new();
    walk(root, &root.join(under), "rs", &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root.join(&path)).unwrap();
            File::new(&path, text)
        })
        .collect()
}

/// Every file below `root/under` with this extension, relative to `root`, sorted.
pub(crate) fn files(root: &Path, under: &str, extension: &str) -> Vec<String> {
    let mut paths = Vec::new();
    walk(root, &root.join(under), extension, &mut paths);
    paths
}

fn walk(root: &Path, folder: &Path, extension: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            let relative = path.strip_prefix(root).unwrap();
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// The text with comments and the insides of literals replaced by spaces; line breaks stay.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let starts = |text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return (at..chars.len())
            .find(|i| chars[*i] == '\n')
            .unwrap_or(chars.len());
    }
    if starts("/*") {
        return block_comment_end(chars, at);
    }
    if starts("\"") {
        return quoted_end(chars, at + 1, '"');
    }
    if !in_word && (starts("r\"") || starts("r#") || starts("br\"") || starts("br#")) {
        return raw_end(chars, at).unwrap_or(at);
    }
    // A character literal and not a lifetime: `'x'` or `'\…'`.
    let is_char = chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'');
    if starts("'") && is_char {
        return quoted_end(chars, at + 1, '\'');
    }
    at
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`…; `None` for a raw identifier.
fn raw_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes_from = start + if chars[start] == 'b' { 2 } else { 1 };
    let hashes = chars[hashes_from..]
        .iter()
        .take_while(|c| **c == '#')
        .count();
    let mut at = hashes_from + hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        let closing = chars[at] == '"'
            && chars[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        if closing {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

/// Blanks every item behind `#[cfg(test)]`, to its closing brace or semicolon.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        out.push_str(before);
        let end = item_end(item);
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

fn item_end(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// Every path that the code's `use` items bring in, flattened: `std::fs`, `std::io::Read`.
pub(crate) fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let starts_item = code[..at]
            .trim_end_matches([' ', '(', ')'])
            .ends_with(['\n', ';', '}', '{'])
            || at == 0
            || code[..at].ends_with("pub ")
            || code[..at].ends_with(") ");
        let Some(end) = code[at..].find(';') else {
            continue;
        };
        if starts_item {
            flatten("", &without_aliases(&code[at + 4..at + end]), &mut found);
        }
    }
    found
}

/// A `use` tree without spaces and without `as` names.
fn without_aliases(tree: &str) -> String {
    let mut out = String::new();
    let mut words = tree.split_whitespace();
    while let Some(word) = words.next() {
        if word == "as" {
            let punctuation = words.next().unwrap_or_default();
            out.extend(
                punctuation
                    .chars()
                    .filter(|c| !c.is_alphanumeric() && *c != '_'),
            );
        } else {
            out.push_str(word);
        }
    }
    out
}

fn flatten(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        match tree {
            "" => {}
            "self" => found.push(prefix.trim_end_matches("::").to_owned()),
            name => found.push(format!("{prefix}{name}")),
        }
        return;
    };
    let prefix = format!("{prefix}{head}");
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut from) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                flatten(&prefix, &group[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    flatten(&prefix, &group[from..], found);
}

/// Whether `path` is `root` or lies below it.
fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The code with all white space around `::` and before `!` and `(` taken out.
pub(crate) fn dense(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    for word in code.split_whitespace() {
        let glued = out.ends_with("::") || word.starts_with("::") || word.starts_with(['!', '(']);
        if !out.is_empty() && !glued {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Whether `needle` stands in `dense` as a whole path, not as part of a longer word.
pub(crate) fn mentions(dense: &str, needle: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    dense.match_indices(needle).any(|(at, _)| {
        let before = dense[..at].chars().next_back();
        let after = dense[at + needle.len()..].chars().next();
        !(before.is_some_and(is_word) || needle.ends_with(is_word) && after.is_some_and(is_word))
    })
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = r##"let a = "std::fs"; // std::env
        /* tokio /* nested */ rand */ let c = '"'; let r = r#"std::net "x""#; fn f<'a>() { real() }"##;
    let code = blank(text);
    for gone in ["std::fs", "std::env", "tokio", "rand", "std::net"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    assert!(code.contains("fn f<'a>() { real() }"));
}

#[test]
fn test_items_are_cut_and_nothing_else() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { std::fs(); } }\nfn c() {}\n#[cfg(test)]\nmod t;\nfn d() {}";
    let cut = without_tests(code);
    assert!(!cut.contains("fn b") && !cut.contains("mod t"));
    assert!(cut.contains("fn a") && cut.contains("fn c") && cut.contains("fn d"));
}

#[test]
fn use_trees_are_flattened() {
    let code =
        "use std::{fs, io::{self, Read as _}, net::IpAddr};\npub(crate) use a::b;\nlet x = 1;";
    let found = uses(code);
    for wanted in ["std::fs", "std::io", "std::net::IpAddr", "a::b"] {
        assert!(
            found.iter().any(|path| path == wanted),
            "{wanted} in {found:?}"
        );
    }
}

#[test]
fn a_forbidden_path_is_found_however_it_is_written() {
    for text in [
        "use std::fs;",
        "use std::{fs::File, io};",
        "fn f() { std :: fs::read(p); }",
        "use std::{\n    collections::BTreeMap,\n    fs as files,\n};",
    ] {
        let file = File::new("x.rs", text.into());
        assert_eq!(file.names_any(&["std::fs"]).len(), 1, "{text}");
    }
    for text in ["// std::fs", "use std::fsx;", "let s = \"std::fs\";"] {
        let file = File::new("x.rs", text.into());
        assert!(file.names_any(&["std::fs"]).is_empty(), "{text}");
    }
}
