//! A protocol counts only with all its parts.

use std::fs;

use super::{
    assert_tidy, root,
    source::{files, rust_files},
};

/// Folders below `gateway-protocols/src` that several protocols share.
const SHARED: &[&str] = &["sql", "testkit"];

/// The tree, as far as a protocol's parts are concerned: paths and what stands in them.
struct Tree {
    files: Vec<(String, String)>,
}

impl Tree {
    fn read() -> Self {
        let root = root();
        let mut found: Vec<(String, String)> = Vec::new();
        for under in ["gateway-protocols", "benches", "fuzz"] {
            for file in rust_files(&root, under) {
                found.push((file.path, file.text));
            }
        }
        for (under, extension) in [
            ("docs/protocols", "md"),
            ("gateway-protocols/testdata", "transcript"),
            ("fuzz/fuzz_targets", "rs"),
        ] {
            for path in files(&root, under, extension) {
                let text = fs::read_to_string(root.join(&path)).unwrap();
                found.push((path, text));
            }
        }
        let lib = "gateway-protocols/Cargo.toml";
        found.push((lib.into(), fs::read_to_string(root.join(lib)).unwrap()));
        Self { files: found }
    }

    fn protocols(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .files
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("gateway-protocols/src/")?.split_once('/'))
            .map(|(folder, _)| folder.to_owned())
            .filter(|folder| !SHARED.contains(&folder.as_str()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|(known, _)| known == path)
            .map(|(_, text)| text.as_str())
    }

    fn any(&self, under: &str, holds: &[&str]) -> bool {
        self.files.iter().any(|(path, text)| {
            path.starts_with(under) && holds.iter().all(|word| text.contains(word))
        })
    }

    /// One line per part that `name` lacks.
    fn lacks(&self, name: &str) -> Vec<String> {
        let source = format!("gateway-protocols/src/{name}");
        let module = |part: &str| {
            self.text(&format!("{source}/{part}.rs"))
                .or_else(|| self.text(&format!("{source}/{part}/mod.rs")))
        };
        let folder = self.text(&format!("{source}/mod.rs")).unwrap_or_default();
        let manifest = self
            .text("gateway-protocols/Cargo.toml")
            .unwrap_or_default();
        let transcripts = format!("gateway-protocols/testdata/{name}/");
        let path = format!("{name}::");
        let parts = [
            ("frame.rs", module("frame").is_some()),
            ("message.rs", module("message").is_some()),
            (
                "session.rs, headed by its state diagram",
                module("session").is_some_and(|text| text.contains("//! ```text")),
            ),
            ("reply.rs", module("reply").is_some()),
            (
                "the specification it follows, in mod.rs",
                folder.contains("Source of truth"),
            ),
            ("a feature", manifest.contains(&format!("\n{name} = "))),
            (
                "a page in docs/protocols",
                self.text(&format!("docs/protocols/{name}.md")).is_some(),
            ),
            ("transcripts", self.any(&transcripts, &[])),
            (
                "a laws test",
                self.any("gateway-protocols/tests/", &["laws", name])
                    || self.any("gateway-protocols/src/testkit/", &["laws", &path]),
            ),
            ("a fuzz target", self.any("fuzz/fuzz_targets/", &[name])),
            ("a bench", self.any("benches/", &[&path])),
        ];
        parts
            .into_iter()
            .filter(|(_, there)| !there)
            .map(|(part, _)| format!("{name} lacks {part}"))
            .collect()
    }
}

#[test]
fn every_protocol_has_all_its_parts() {
    let tree = Tree::read();
    let names = tree.protocols();
    assert!(names.contains(&"postgres".to_owned()), "{names:?}");
    let wrong: Vec<String> = names.iter().flat_map(|name| tree.lacks(name)).collect();
    assert_tidy("a protocol counts only with all its parts", &wrong);
}

#[test]
fn a_missing_part_is_seen() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let mut files = vec![
        file("gateway-protocols/Cargo.toml", "[features]\ntoy = []\n"),
        file(
            "gateway-protocols/src/toy/mod.rs",
            "//! Source of truth: itself.",
        ),
        file("gateway-protocols/src/toy/frame.rs", ""),
        file("gateway-protocols/src/toy/message/mod.rs", ""),
        file(
            "gateway-protocols/src/toy/session.rs",
            "//! ```text\n//! A -> B\n//! ```",
        ),
        file("gateway-protocols/src/toy/reply.rs", ""),
        file("docs/protocols/toy.md", ""),
        file("gateway-protocols/testdata/toy/login.transcript", ""),
        file("gateway-protocols/tests/it/laws.rs", "laws(toy)"),
        file("fuzz/fuzz_targets/toy.rs", "toy"),
        file("benches/benches/parse.rs", "toy::frame"),
    ];
    assert!(
        Tree {
            files: files.clone()
        }
        .lacks("toy")
        .is_empty()
    );
    for _ in 0..files.len() {
        files.rotate_left(1);
        let rest = Tree {
            files: files[1..].to_vec(),
        };
        assert!(
            !rest.lacks("toy").is_empty(),
            "nothing missed without {}",
            files[0].0
        );
    }
}
