//! Paths: what to ask the target about one, and what its answer comes to.

use bytes::Bytes;

/// Longest path, bytes (`PATH_MAX` on Linux).
const PATH_BYTES_MAX: usize = 4096;

/// What an operation does with a symbolic link that its path ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Follows it.
    Followed,
    /// Acts on the link, or on the name itself.
    Itself,
}

/// A question to the target's REALPATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The path as the agent wrote it.
    written: String,
    /// The path to ask about.
    pub(super) asked: String,
    /// The name to append to the answer.
    last: Option<String>,
}

impl Question {
    /// What to ask about a path.
    ///
    /// # Errors
    /// Why it can't be asked about, in words.
    pub(super) fn new(path: &Bytes, last: Last) -> Result<Self, &'static str> {
        if path.len() > PATH_BYTES_MAX {
            return Err("paths of more than 4096 bytes");
        }
        let written = std::str::from_utf8(path).map_err(|_| "paths that aren't UTF-8")?;
        if written.contains('\0') {
            return Err("paths with a zero byte");
        }
        let whole = |asked: &str| Self {
            written: written.to_owned(),
            asked: asked.to_owned(),
            last: None,
        };
        if written.is_empty() {
            return Ok(whole("."));
        }
        let trimmed = written.trim_end_matches('/');
        let (parent, name) = match trimmed.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((parent, name)) => (parent, name),
            None => (".", trimmed),
        };
        // These are never links; and a slash behind a link follows it.
        let is_folder = matches!(name, "" | "." | "..") || trimmed.len() < written.len();
        if last == Last::Followed || is_folder {
            return Ok(whole(written));
        }
        Ok(Self {
            written: written.to_owned(),
            asked: parent.to_owned(),
            last: Some(name.to_owned()),
        })
    }

    /// The path that the target's answer stands for; `None` when it isn't absolute and canonical.
    pub(super) fn answered(&self, resolved: &[u8]) -> Option<String> {
        let resolved = std::str::from_utf8(resolved).ok()?;
        if !is_canonical(resolved) {
            return None;
        }
        let path = match &self.last {
            None => resolved.to_owned(),
            Some(name) if resolved == "/" => format!("/{name}"),
            Some(name) => format!("{resolved}/{name}"),
        };
        is_canonical(&path).then_some(path)
    }

    /// What is decided on when the target can't resolve it: nothing is sent then, but whether
    /// something is there is an answer too.
    pub(super) fn unanswered(&self) -> String {
        if !self.written.starts_with('/') {
            return self.written.clone();
        }
        let mut names: Vec<&str> = Vec::new();
        for name in self.written.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        format!("/{}", names.join("/"))
    }
}

/// Whether a path is absolute, and has no name that is empty, `.` or `..`.
fn is_canonical(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else {
        return false;
    };
    let fine = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    path.len() <= PATH_BYTES_MAX && (names.is_empty() || names.split('/').all(fine))
}

/// A path in the text of an operation: as it is, or quoted where it could be misread.
pub(super) fn shown(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%~".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("{path:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(path: &'static str, last: Last) -> Question {
        Question::new(&Bytes::from_static(path.as_bytes()), last).unwrap()
    }

    #[test]
    fn the_target_is_asked_about_what_the_operation_follows() {
        for (path, last, asked, name) in [
            ("/srv/a", Last::Followed, "/srv/a", None),
            ("/srv/a", Last::Itself, "/srv", Some("a")),
            ("/a", Last::Itself, "/", Some("a")),
            ("a", Last::Itself, ".", Some("a")),
            ("", Last::Itself, ".", None),
            ("/", Last::Itself, "/", None),
            ("/srv/..", Last::Itself, "/srv/..", None),
            ("/srv/link/", Last::Itself, "/srv/link/", None),
        ] {
            let question = question(path, last);
            assert_eq!(
                (question.asked.as_str(), question.last.as_deref()),
                (asked, name),
                "{path}"
            );
        }
        for path in ["\0", "a\0b", "\u{fffd}"] {
            let result = Question::new(&Bytes::from_static(path.as_bytes()), Last::Followed);
            assert_eq!(result.is_ok(), !path.contains('\0'));
        }
        assert!(Question::new(&Bytes::from_static(b"\xff"), Last::Followed).is_err());
        let long = Bytes::from(vec![b'a'; PATH_BYTES_MAX + 1]);
        assert!(Question::new(&long, Last::Followed).is_err());
    }

    #[test]
    fn only_canonical_answers_count() {
        for (answer, path) in [
            ("/srv", Some("/srv/a")),
            ("/", Some("/a")),
            ("srv", None),
            ("", None),
            ("/srv/", None),
            ("/srv/../etc", None),
            ("//srv", None),
        ] {
            let answered = question("x/a", Last::Itself).answered(answer.as_bytes());
            assert_eq!(answered.as_deref(), path, "{answer}");
        }
        assert_eq!(
            question("/", Last::Followed).answered(b"/").as_deref(),
            Some("/")
        );
    }

    #[test]
    fn what_cant_be_resolved_is_still_named_without_detours() {
        for (written, named) in [
            ("/srv/../etc//x/.", "/etc/x"),
            ("/../..", "/"),
            ("no/where", "no/where"),
        ] {
            assert_eq!(question(written, Last::Followed).unanswered(), named);
        }
    }

    #[test]
    fn paths_that_could_be_misread_are_quoted() {
        for (path, text) in [
            ("/srv/a-b_c.txt", "/srv/a-b_c.txt"),
            ("/srv/a b", "\"/srv/a b\""),
            ("/srv/a\n/b", "\"/srv/a\\n/b\""),
            ("/srv/\u{202e}x", "\"/srv/\\u{202e}x\""),
            ("", "\"\""),
        ] {
            assert_eq!(shown(path), text);
        }
    }
}
