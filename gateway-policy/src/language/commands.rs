//! `commands.toml`: templates of commands, by which rules can name what may run.

use gateway_core::operation::Operation;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use toml::Spanned;

use super::error::{BundleError, Source};

/// The file's name within a bundle.
pub(crate) const FILE: &str = "commands.toml";

/// Templates of one bundle, at most.
const TEMPLATES_MAX: usize = 1000;
/// Words of one template, at most.
const WORDS_MAX: usize = 64;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 63;
/// Largest compiled pattern, bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// The templates, in file order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commands(Vec<Template>);

#[derive(Clone, Debug)]
struct Template {
    name: String,
    words: Vec<Word>,
}

#[derive(Clone, Debug)]
enum Word {
    /// The word itself.
    Literal(String),
    /// Any word that the pattern matches as a whole.
    Slot {
        pattern: Regex,
        /// The pattern itself begins with a hyphen.
        may_be_option: bool,
    },
}

impl Commands {
    /// The name of the first template that the operation's words fit; empty for none.
    pub(crate) fn template(&self, operation: &Operation) -> &str {
        let words = match operation {
            Operation::Command(unit) => unit.facts.argv.as_deref().unwrap_or_default(),
            Operation::Api(unit) => &unit.facts.command,
            Operation::Session(_) | Operation::Sql(_) => &[],
        };
        let fits = |template: &&Template| template.fits(words);
        let found = (!words.is_empty()).then(|| self.0.iter().find(fits));
        found.flatten().map_or("", |template| &template.name)
    }
}

impl Template {
    fn fits(&self, words: &[String]) -> bool {
        self.words.len() == words.len()
            && self
                .words
                .iter()
                .zip(words)
                .all(|(word, given)| word.fits(given))
    }
}

impl Word {
    fn fits(&self, given: &str) -> bool {
        match self {
            Self::Literal(word) => word == given,
            // A value that begins with a hyphen is an option to most programs.
            Self::Slot {
                pattern,
                may_be_option,
            } => (*may_be_option || !given.starts_with('-')) && pattern.is_match(given),
        }
    }

    /// `{name:pattern}` is a slot, and anything else without braces itself.
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a word is empty".to_owned());
        }
        let Some(slot) = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        else {
            return if text.contains(['{', '}']) {
                Err(format!(
                    "`{text}`: a slot is a whole word, `{{name:pattern}}`"
                ))
            } else {
                Ok(Self::Literal(text.to_owned()))
            };
        };
        let (name, pattern) = slot
            .split_once(':')
            .ok_or_else(|| format!("`{text}`: a slot is `{{name:pattern}}`"))?;
        check_name(name)?;
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .map_err(|error| format!("slot `{name}`: {}", one_line(&error)))
        };
        // On its own first: what closes the group around it is no pattern.
        compile(pattern)?;
        Ok(Self::Slot {
            pattern: compile(&format!(r"\A(?:{pattern})\z"))?,
            may_be_option: pattern.starts_with('-'),
        })
    }
}

/// The last line of the regex crate's messages says what is wrong; those before it draw a picture.
fn one_line(error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(format!(
            "`{name}`: a name is 1 to {NAME_BYTES_MAX} of a-z 0-9 . _ -"
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    command: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    argv: Spanned<Vec<Spanned<String>>>,
}

/// Parses the file; mistakes go to `mistakes`.
pub(crate) fn parse(source: Source<'_>, mistakes: &mut Vec<BundleError>) -> Commands {
    let file: File = match toml::from_str(source.text) {
        Ok(file) => file,
        Err(error) => {
            mistakes.push(source.mistake(error.span().unwrap_or(0..0), error.message()));
            return Commands::default();
        }
    };
    if file.command.len() > TEMPLATES_MAX {
        let message = format!("{} templates; at most {TEMPLATES_MAX}", file.command.len());
        mistakes.push(BundleError::of_file(FILE, message));
    }
    let mut templates: Vec<Template> = Vec::new();
    for entry in file.command {
        let span = entry.name.span();
        let name = entry.name.into_inner();
        if let Err(message) = check_name(&name) {
            mistakes.push(source.mistake(span.clone(), message));
        }
        if templates.iter().any(|template| template.name == name) {
            mistakes.push(source.mistake(span, format!("`{name}` is used twice")));
        }
        let argv_span = entry.argv.span();
        let argv = entry.argv.into_inner();
        if argv.is_empty() || argv.len() > WORDS_MAX {
            let message = format!("`argv` has 1 to {WORDS_MAX} words");
            mistakes.push(source.mistake(argv_span.clone(), message));
        }
        let mut words = Vec::with_capacity(argv.len());
        for word in argv {
            match Word::parse(word.get_ref()) {
                Ok(parsed) => words.push(parsed),
                Err(message) => mistakes.push(source.mistake(word.span(), message)),
            }
        }
        if matches!(words.first(), Some(Word::Slot { .. })) {
            let message = "the first word is the program, in full";
            mistakes.push(source.mistake(argv_span, message));
        }
        templates.push(Template { name, words });
    }
    Commands(templates)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_core::operation::{CommandFacts, CommandKind, CommandUnit, Inspection};

    use super::*;
    use crate::testing::files;

    fn commands(text: &str) -> Commands {
        let mut mistakes = Vec::new();
        let text: Arc<str> = text.into();
        let source = Source {
            name: FILE,
            text: &text,
        };
        let commands = parse(source, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        commands
    }

    fn fitting<'a>(commands: &'a Commands, argv: &[&str]) -> &'a str {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        commands.template(&Operation::Command(CommandUnit {
            kind: CommandKind::Exec,
            text: argv.join(" ").into(),
            effects: Arc::new([]),
            inspection: Inspection::Full,
            facts: CommandFacts {
                argv: Some(argv),
                ..CommandFacts::default()
            },
        }))
    }

    #[test]
    fn a_template_fits_whole_words_only() {
        let commands = commands(
            r#"
[[command]]
name = "unit-status"
argv = ["systemctl", "status", "{unit:[a-z0-9@.-]+|all}"]
[[command]]
name = "any-two"
argv = ["systemctl", "{a:[a-z]+}", "{b:.*}"]
[[command]]
name = "tail"
argv = ["tail", "{lines:-n[0-9]{1,3}}", "{file:/var/log/[a-z]+}"]
"#,
        );
        for (argv, expected) in [
            (&["systemctl", "status", "nginx.service"][..], "unit-status"),
            (&["systemctl", "status", "all"], "unit-status"),
            (&["systemctl", "stop", "nginx"], "any-two"),
            (&["systemctl", "status", "nginx", "--now"], ""),
            (&["systemctl", "status", "nginx\n"], ""),
            // An option in the place of a value.
            (&["systemctl", "status", "--host"], ""),
            (&["systemctl", "status"], ""),
            (&["/tmp/systemctl", "status", "nginx"], ""),
            (&["tail", "-n10", "/var/log/syslog"], "tail"),
            (&["tail", "-n1000", "/var/log/syslog"], ""),
            (&["tail", "-n10", "/var/log/../shadow"], ""),
            (&[], ""),
        ] {
            assert_eq!(fitting(&commands, argv), expected, "{argv:?}");
        }
    }

    #[test]
    fn mistakes_in_templates_are_refused_with_their_place() {
        for (entry, says) in [
            ("name = \"A\"\nargv = [\"ls\"]", "2:8: `A`: a name is"),
            ("name = \"a\"\nargv = []", "3:8: `argv` has 1 to 64 words"),
            ("name = \"a\"\nargv = [\"\"]", "3:9: a word is empty"),
            (
                "name = \"a\"\nargv = [\"{x:ls}\"]",
                "3:8: the first word is the program",
            ),
            (
                "name = \"a\"\nargv = [\"ls\", \"-l{x:a}\"]",
                "a slot is a whole word",
            ),
            (
                "name = \"a\"\nargv = [\"ls\", \"{x}\"]",
                "a slot is `{name:pattern}`",
            ),
            (
                "name = \"a\"\nargv = [\"ls\", \"{x:a)|(b}\"]",
                "slot `x`: unopened group",
            ),
            (
                "name = \"a\"\nargv = [\"ls\", \"{x:(?x)a#}\"]",
                "slot `x`: unclosed group",
            ),
            (
                "name = \"a\"\nargv = [\"ls\", \"{x:[a-z]{900}{900}}\"]",
                "slot `x`: ",
            ),
            ("name = \"a\"\nargs = [\"ls\"]", "unknown field `args`"),
            (
                "name = \"a\"\nargv = [\"ls\"]\n[[command]]\nname = \"a\"\nargv = [\"w\"]",
                "5:8: `a` is used twice",
            ),
        ] {
            let errors = files(&[(FILE, &format!("[[command]]\n{entry}"))]).expect_err(entry);
            let first = errors.iter().next().expect("one").to_string();
            assert!(first.contains(says), "{entry}\n{first}");
        }
    }
}
