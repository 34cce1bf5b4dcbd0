use proptest::prelude::*;

use super::*;

fn shown(bytes: &[u8]) -> (String, u64) {
    let (mut screen, mut out) = (Screen::default(), String::new());
    screen.show(bytes, &mut out);
    screen.finish(&mut out);
    (out, screen.hidden())
}

#[test]
fn what_a_terminal_needs_to_show_text_passes() {
    for text in [
        "plain ünï 漢字 🙂\r\n\ttab\u{8}",
        "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m\u{1b}[38;5;8mgrey\u{1b}[48;2;8;8;8m\u{1b}[4:3m",
        "\u{1b}[2J\u{1b}[H\u{1b}[10;20H\u{1b}[K\u{1b}[2K\u{1b}[A\u{1b}[12C\u{1b}[3P\u{1b}[4@\u{1b}[2L\u{1b}[M",
        "\u{1b}7\u{1b}8\u{1b}M\u{1b}[s\u{1b}[u\u{1b}[5X\u{1b}[9b\u{1b}[2d\u{1b}[3G",
    ] {
        assert_eq!(shown(text.as_bytes()), (text.to_owned(), 0), "{text:?}");
    }
}

#[test]
fn whole_sequences_that_print_nothing_are_hidden_and_counted() {
    for (text, what) in [
        ("\u{1b}]52;c;cm0gLXJmIC8=\u{7}", "clipboard"),
        ("\u{1b}]0;title\u{1b}\\", "title"),
        ("\u{1b}]8;;http://evil.test\u{1b}\\", "link"),
        ("\u{1b}]10;?\u{7}", "colour query"),
        ("\u{1b}Pq#0;2;0;0;0~~\u{1b}\\", "sixel"),
        ("\u{1b}P+q544e\u{1b}\\", "termcap query"),
        ("\u{1b}_Gf=24;AAAA\u{1b}\\", "kitty graphics"),
        ("\u{1b}^pm\u{1b}\\", "privacy message"),
        ("\u{1b}Xsos\u{1b}\\", "start of string"),
        ("\u{1b}[c", "device attributes"),
        ("\u{1b}[>0q", "version query"),
        ("\u{1b}[6n", "cursor report"),
        ("\u{1b}[5n", "status report"),
        ("\u{1b}[?1049h", "alternate screen"),
        ("\u{1b}[?2004h", "bracketed paste"),
        ("\u{1b}[?1000h", "mouse"),
        ("\u{1b}[21t", "window title report"),
        ("\u{1b}[8;1;1t", "window size"),
        ("\u{1b}[3J", "scrollback"),
        ("\u{1b}[2;5r", "scroll region"),
        ("\u{1b}[1;2;3;4;5T", "mouse highlighting"),
        ("\u{1b}[8m", "concealed"),
        ("\u{1b}[08m", "concealed"),
        ("\u{1b}[12345A", "long parameter"),
        ("\u{1b}[!p", "soft reset"),
        ("\u{1b}c", "reset"),
        ("\u{1b}(0", "character set"),
        ("\u{1b}#8", "alignment test"),
        ("\u{1b}=", "keypad"),
    ] {
        let text = format!("a{text}b");
        assert_eq!(shown(text.as_bytes()), ("ab".to_owned(), 1), "{what}");
    }
}

#[test]
fn what_is_no_whole_sequence_is_shown() {
    for (bytes, expected) in [
        (&b"\x07\x00\x0e\x7f"[..], "^G^@^N^?"),
        (b"\x1b", "␛"),
        (b"\x1b[", "␛["),
        (b"\x1b[12", "␛[12"),
        (b"\x1b\x1b[1m", "␛\u{1b}[1m"),
        (b"\x1b[12\nrm", "␛[12\nrm"),
        (b"\x1b]0;half a title\nls\n", "␛]0;half a title\nls\n"),
        (b"\x1b]0;a\x1b[1mb\x07", "␛]0;a\u{1b}[1mb^G"),
        (b"\x1bPq never ends", "␛Pq never ends"),
        (b"\x1bPbell\x07", "␛Pbell^G"),
        (b"\x9b31m\x9d0;x\x9c", "\\x9b31m\\x9d0;x\\x9c"),
        ("\u{9b}31m".as_bytes(), "\\u{009b}31m"),
        (
            "a\u{202e}b\u{200b}c\u{feff}".as_bytes(),
            "a\\u{202e}b\\u{200b}c\\u{feff}",
        ),
        (
            "a\u{fe0f}b\u{e0100}\u{3164}".as_bytes(),
            "a\\u{fe0f}b\\u{e0100}\\u{3164}",
        ),
        (b"\xff\xc3", "\\xff\\xc3"),
        (b"\x1b]0;\xff\x07", "␛]0;\\xff^G"),
    ] {
        assert_eq!(shown(bytes).0, expected, "{}", bytes.escape_ascii());
    }
    let endless = format!("\u{1b}]0;{}", "x".repeat(STRING_BYTES_MAX));
    assert_eq!(shown(endless.as_bytes()).0, endless.replace('\u{1b}', "␛"));
    let long = format!("\u{1b}[{}m", "1;".repeat(SEQUENCE_BYTES_MAX));
    assert!(shown(long.as_bytes()).0.starts_with("␛[1;"));
}

#[test]
fn concealing_is_taken_out_of_its_sequence_and_colour_eight_is_not() {
    assert_eq!(shown(b"\x1b[1;8;31mx").0, "\u{1b}[1;31mx");
    assert_eq!(shown(b"\x1b[38;5;8;8mx").0, "\u{1b}[38;5;8mx");
    assert_eq!(shown(b"\x1b[38;2;8;8;8;8;4mx").0, "\u{1b}[38;2;8;8;8;4mx");
    assert_eq!(shown(b"\x1b[38;8mx").0, "\u{1b}[38mx");
}

/// Written apart from the renderer: whether a terminal that gets `text` can only print, colour and move.
fn is_harmless(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let zero_width = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}');
        if c == '\u{1b}' {
            match rest.next() {
                Some('7' | '8' | 'M') => continue,
                Some('[') => {}
                _ => return false,
            }
            let mut parameters = String::new();
            while let Some(c) = rest.next_if(|c| matches!(c, '0'..='9' | ';' | ':')) {
                parameters.push(c);
            }
            let Some(last) = rest.next() else {
                return false;
            };
            if !"@ABCDEFGHIJKLMPSTXZ`abdefmsu".contains(last)
                || (last == 'J' && parameters.contains('3'))
                || (last == 'm' && (parameters == "8" || parameters.starts_with("8;")))
            {
                return false;
            }
        } else if zero_width || (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{8}')) {
            return false;
        }
    }
    true
}

/// Bytes in which sequences are frequent.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        proptest::sample::select(vec![
            &b"\x1b"[..],
            b"\x1b[",
            b"\x1b]",
            b"\x1bP",
            b"\x1b\\",
            b"\x07",
            b"\x18",
            b"\n",
            b"?1049h",
            b"6n",
            b"52;c;",
            b"8",
            b"38;5;",
            b";",
            b":",
            b"m",
            b"J",
            b"3J",
            b"!p",
            b"A",
            b"\xc2\x9b",
            b"\xe2\x80\xae",
            b"text",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_is_shown_prints_colours_and_moves_at_most(bytes in output()) {
        let (text, _) = shown(&bytes);
        prop_assert!(is_harmless(&text), "{text:?}");
        prop_assert!(text.len() <= 8 * bytes.len() + 3, "{} of {}", text.len(), bytes.len());
    }

    #[test]
    fn pieces_show_what_the_whole_shows(bytes in output(), sizes in proptest::collection::vec(1..9usize, 1..9)) {
        let (mut screen, mut out, mut rest) = (Screen::default(), String::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            screen.show(piece, &mut out);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        screen.finish(&mut out);
        prop_assert_eq!((out, screen.hidden()), shown(&bytes));
    }

    #[test]
    fn text_is_shown_as_it_is(text in "[ -~äßé漢\n\r\t]{0,200}") {
        prop_assert_eq!(shown(text.as_bytes()), (text, 0));
    }
}
