//! What can be told about a command line before the host's shell reads it.
//!
//! Information for rules and reviewers, never a boundary: the same act has endless spellings, and
//! which one a line is, only the host's shell knows. What is enforced is the complete line, or its
//! words where the line is plain.

use gateway_core::operation::Inspection;

/// What was understood of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// The words of a plain line (`CommandFacts::argv` says which lines are).
    pub argv: Option<Vec<String>>,
    /// The first word of the first simple command.
    pub program: Option<String>,
    /// Opaque when something in the line is for the shell to expand, or can't be read.
    pub inspection: Inspection,
}

/// Words that begin or belong to compound commands when they stand where a command could (POSIX.1,
/// "Reserved Words", and those of other shells).
const RESERVED: &[&str] = &[
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "end", "esac", "fi", "for",
    "foreach", "function", "if", "in", "repeat", "select", "switch", "then", "time", "until",
    "while",
];

/// Reads a command line.
#[must_use]
pub fn understand(line: &str) -> Understood {
    let argv = plain_words(line);
    let lexed = Lexer::new(line).run();
    let (program, inspection) = match lexed {
        Ok(program) => (program, Inspection::Full),
        Err(Opaque { what, program }) => (
            program,
            Inspection::Opaque {
                reason: format!("the command line has {what}"),
            },
        ),
    };
    Understood {
        argv,
        program,
        inspection,
    }
}

/// The words of a line that every shell splits the same way and in which none expands anything.
fn plain_words(line: &str) -> Option<Vec<String>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    let mut words = Vec::new();
    for word in line.split(' ') {
        // `=name` and `%name` at the start of a word expand in some shells.
        if word.is_empty() || word.starts_with(['=', '%']) || !word.chars().all(plain) {
            return None;
        }
        words.push(word.to_owned());
    }
    let first = words.first()?;
    // An assignment or a compound command isn't the name of a program.
    let is_program = !first.contains('=') && !RESERVED.contains(&first.as_str());
    is_program.then_some(words)
}

/// What makes a line opaque, and the program as far as it was known before.
struct Opaque {
    what: &'static str,
    program: Option<String>,
}

/// Reads words, quotes, escapes and operators (POSIX.1, "Token Recognition"), and stops at what
/// only a shell can say.
struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    /// The word so far; `None` between words.
    word: Option<String>,
    /// Whether the word has quoted parts: it is no keyword and no assignment then.
    quoted: bool,
    /// The next word is the file of a redirection.
    redirected: bool,
    /// The current simple command has its program.
    has_program: bool,
    program: Option<String>,
}

type Step<T> = Result<T, &'static str>;

impl<'a> Lexer<'a> {
    fn new(line: &'a str) -> Self {
        Self {
            rest: line.chars().peekable(),
            word: None,
            quoted: false,
            redirected: false,
            has_program: false,
            program: None,
        }
    }

    fn run(mut self) -> Result<Option<String>, Opaque> {
        match self.lex() {
            Ok(()) => Ok(self.program),
            Err(what) => Err(Opaque {
                what,
                program: self.program,
            }),
        }
    }

    fn lex(&mut self) -> Step<()> {
        while let Some(c) = self.rest.next() {
            match c {
                ' ' | '\t' => self.end_word()?,
                '\n' | ';' | '&' | '|' => self.end_command()?,
                '<' | '>' => self.redirect(c)?,
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => self.escaped()?,
                '$' | '`' => return Err("an expansion"),
                '*' | '?' | '[' => return Err("a file name pattern"),
                '{' | '}' => return Err("a brace"),
                '(' | ')' => return Err("a subshell or function"),
                '~' if self.word.is_none() => return Err("a home folder"),
                '#' if self.word.is_none() => return Err("a comment"),
                c if c.is_control() => return Err("a control character"),
                c => self.push(c),
            }
        }
        self.end_word()?;
        match self.redirected {
            true => Err("a redirection without a file"),
            false => Ok(()),
        }
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn single_quoted(&mut self) -> Step<()> {
        self.quoted = true;
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.push_quoted(c)?,
                None => return Err("an open quote"),
            }
        }
    }

    fn double_quoted(&mut self) -> Step<()> {
        self.quoted = true;
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$' | '`') => return Err("an expansion"),
                Some('\\') => match self.rest.next() {
                    Some('\n') => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => self.push(c),
                    Some(c) => {
                        self.push('\\');
                        self.push_quoted(c)?;
                    }
                    None => return Err("an open quote"),
                },
                Some(c) => self.push_quoted(c)?,
                None => return Err("an open quote"),
            }
        }
    }

    fn push_quoted(&mut self, c: char) -> Step<()> {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            return Err("a control character");
        }
        self.push(c);
        Ok(())
    }

    fn escaped(&mut self) -> Step<()> {
        match self.rest.next() {
            // A line that is continued.
            Some('\n') => Ok(()),
            Some(c) => {
                self.quoted = true;
                self.push_quoted(c)
            }
            None => Err("an escape without a character"),
        }
    }

    fn redirect(&mut self, c: char) -> Step<()> {
        // A number before it is the file descriptor, and belongs to it.
        let is_descriptor = |word: &String| word.chars().all(|c| c.is_ascii_digit());
        if !self.quoted && self.word.as_ref().is_some_and(is_descriptor) {
            self.word = None;
        }
        self.end_word()?;
        match self.rest.peek() {
            Some('<') if c == '<' => return Err("a here-document"),
            Some('(') => return Err("a process substitution"),
            // `>>`, `>&`, `>|`, `<&`, `<>`: still a redirection.
            Some('>' | '&' | '|') => {
                self.rest.next();
            }
            Some(_) | None => {}
        }
        self.redirected = true;
        Ok(())
    }

    fn end_command(&mut self) -> Step<()> {
        self.end_word()?;
        if self.redirected {
            return Err("a redirection without a file");
        }
        self.has_program = false;
        Ok(())
    }

    fn end_word(&mut self) -> Step<()> {
        let Some(word) = self.word.take() else {
            return Ok(());
        };
        let quoted = std::mem::take(&mut self.quoted);
        if std::mem::take(&mut self.redirected) || self.has_program {
            return Ok(());
        }
        if !quoted && RESERVED.contains(&word.as_str()) {
            return Err("a compound command");
        }
        let name = word.split_once('=').map(|(name, _)| name);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '+';
        if name.is_some_and(|name| !name.is_empty() && name.chars().all(is_name)) {
            return Err("an assignment");
        }
        self.has_program = true;
        self.program.get_or_insert(word);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_have_words() {
        for (line, words) in [
            ("uptime", &["uptime"][..]),
            (
                "systemctl status nginx.service",
                &["systemctl", "status", "nginx.service"],
            ),
            (
                "tar -C /srv --exclude=x",
                &["tar", "-C", "/srv", "--exclude=x"],
            ),
        ] {
            let understood = understand(line);
            assert_eq!(
                understood.argv.as_deref(),
                Some(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
                "{line}"
            );
            assert_eq!(understood.inspection, Inspection::Full, "{line}");
            assert_eq!(understood.program.as_deref(), Some(words[0]));
        }
    }

    #[test]
    fn other_lines_have_no_words() {
        for line in [
            "",
            " ls",
            "ls ",
            "ls  -l",
            "ls\t-l",
            "ls;id",
            "ls 'a'",
            "ls \"a\"",
            "ls $HOME",
            "ls *",
            "ls ~",
            "A=b ls",
            "if x",
            "ls =cat",
            "ls %1",
            "ls \\-l",
            "ls \u{e9}",
            "ls\nid",
            "ls #x",
            "ls {a,b}",
            "time ls",
        ] {
            assert_eq!(understand(line).argv, None, "{line:?}");
        }
    }

    #[test]
    fn programs_are_found_behind_quotes_and_redirections() {
        for (line, program) in [
            ("ls -l | grep x && id; true &", "ls"),
            ("'l's -l", "ls"),
            ("\"my prog\" x", "my prog"),
            ("l\\s", "ls"),
            ("2>/dev/null ls", "ls"),
            (">>log 2>&1 ls", "ls"),
            ("<in cat", "cat"),
            ("\n id", "id"),
            ("echo 'a;b' \"c|d\"", "echo"),
        ] {
            let understood = understand(line);
            assert_eq!(understood.program.as_deref(), Some(program), "{line:?}");
            assert_eq!(understood.inspection, Inspection::Full, "{line:?}");
        }
    }

    #[test]
    fn what_only_a_shell_can_say_is_opaque() {
        for line in [
            "echo $HOME",
            "echo \"$(id)\"",
            "echo `id`",
            "cat <<EOF",
            "diff <(a) <(b)",
            "(id)",
            "f() { id; }",
            "ls *",
            "ls ?",
            "ls [ab]",
            "ls ~",
            "{ id; }",
            "echo a{b,c}",
            "A=b id",
            "if true; then id; fi",
            "ls 'a",
            "ls \"a",
            "ls \\",
            "ls #",
            "a\u{7}b",
            "'\u{1b}'",
            "for x in a; do id; done",
            "$'\\x63at'",
            "! id",
            "ls >",
            "ls > ; id",
            "id; A=b id",
        ] {
            let understood = understand(line);
            assert!(
                matches!(understood.inspection, Inspection::Opaque { .. }),
                "{line:?}: {understood:?}"
            );
        }
        assert_eq!(understand("cat $x").program.as_deref(), Some("cat"));
        assert_eq!(understand("$x").program, None);
    }
}
