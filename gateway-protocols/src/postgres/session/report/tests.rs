use gateway_core::mask::Classified;

use super::{Names, Told, phrases, places, scrubbed};
use crate::postgres::{
    frame,
    message::{ErrorResponse, Message as _, ReportField},
};

const SECRET: &str = "841-73-9256";

fn report(fields: &[(u8, &str)], text: &str, sent: Option<&str>) -> Vec<(ReportField, String)> {
    let mut body = Vec::new();
    for (code, text) in fields {
        body.push(*code);
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let classified = Classified::default();
    let told = Told {
        text,
        sent,
        classified: &classified,
    };
    let fields = ErrorResponse::parse(&body).unwrap().0;
    let rebuilt = scrubbed(b'E', &fields, told);
    let rebuilt = ErrorResponse::parse(frame::body(&rebuilt)).unwrap().0;
    rebuilt
        .iter()
        .map(|(field, text)| (field, String::from_utf8(text.to_vec()).unwrap()))
        .collect()
}

#[test]
fn what_is_told_is_useful_and_holds_no_value() {
    let text = "insert into customers (id, email) values ($1, $2)";
    let cases: &[(&[(u8, &str)], &str)] = &[
        (
            &[
                (b'S', "ERROR"),
                (b'C', "23502"),
                (
                    b'M',
                    "null value in column \"name\" of relation \"customers\" violates not-null constraint",
                ),
                (b'D', "Failing row contains (1, 841-73-9256, null)."),
                (b't', "customers"),
                (b'c', "name"),
            ],
            "S=ERROR C=23502 M=null value in column \"name\" of relation \"customers\" violates not-null constraint t=customers c=name",
        ),
        (
            &[
                (b'C', "23505"),
                (
                    b'M',
                    "duplicate key value violates unique constraint \"customers_email_key\"",
                ),
                (b'D', "Key (email)=(841-73-9256) already exists."),
                (b'n', "customers_email_key"),
            ],
            "C=23505 M=duplicate key value violates unique constraint \"customers_email_key\" D=Key (email) already exists. n=customers_email_key",
        ),
        (
            &[
                (b'C', "23503"),
                (
                    b'M',
                    "update or delete on table \"customers\" violates foreign key constraint \"o_fk\" on table \"orders\"",
                ),
                (
                    b'D',
                    "Key (email)=(841-73-9256) is still referenced from table \"orders\".",
                ),
                (b't', "orders"),
                (b'n', "o_fk"),
            ],
            "C=23503 M=update or delete on table \"customers\" violates foreign key constraint \"o_fk\" on table \"orders\" D=Key (email) is still referenced from table \"orders\". t=orders n=o_fk",
        ),
        (
            &[
                (b'C', "22P02"),
                (
                    b'M',
                    "invalid input syntax for type integer: \"841-73-9256\"",
                ),
                (b'W', "COPY customers, line 3, column id: \"841-73-9256\""),
                (b'F', "numutils.c"),
                (b'L', "323"),
                (b'R', "pg_strtoint32"),
            ],
            "C=22P02 M=invalid input syntax for type integer W=COPY customers, line 3, column id F=numutils.c L=323 R=pg_strtoint32",
        ),
        (
            &[
                (b'C', "40001"),
                (
                    b'M',
                    "could not serialize access due to read/write dependencies among transactions",
                ),
                (
                    b'D',
                    "Reason code: Canceled on identification as a pivot, during commit attempt.",
                ),
                (b'H', "The transaction might succeed if retried."),
            ],
            "C=40001 M=could not serialize access due to read/write dependencies among transactions D=Reason code: Canceled on identification as a pivot, during commit attempt. H=The transaction might succeed if retried.",
        ),
        // A name that nobody has told us may be a value.
        (
            &[
                (b'C', "42703"),
                (b'M', "column \"841-73-9256\" does not exist"),
            ],
            "C=42703 M=a column does not exist (the text is withheld: the statement is within reach of classified data)",
        ),
        // Code in the database says what it likes.
        (
            &[
                (b'C', "23505"),
                (
                    b'M',
                    "duplicate key value violates unique constraint \"841-73-9256\"",
                ),
                (b'D', "Key (email) already exists."),
                (b'n', "841-73-9256"),
                (b't', "customers"),
                (b'W', "PL/pgSQL function tell() line 1 at RAISE"),
                (b'q', "select 841-73-9256"),
                (b'p', "3"),
            ],
            "C=23505 M=a unique constraint is violated (the text is withheld: the statement is within reach of classified data) t=customers",
        ),
    ];
    for (fields, expected) in cases {
        let told: Vec<String> = report(fields, text, None)
            .into_iter()
            .map(|(field, text)| {
                let (code, _) = fields
                    .iter()
                    .find(|(c, _)| ReportField::from(*c) == field)
                    .unwrap();
                format!("{}={text}", char::from(*code))
            })
            .collect();
        assert_eq!(told.join(" "), *expected);
    }
}

/// A phrase as the server would say it: `{value}` and, if `named`, names filled in.
fn said(phrase: &str, name: &str, value: &str) -> String {
    let mut said = phrase.replace(['[', ']'], "");
    for (kind, with) in [
        ("value", value),
        ("name", name),
        ("path", name),
        ("names", name),
        ("type", "integer"),
        ("types", "text, integer"),
        ("words", "SELECT"),
        ("op", "="),
        ("n", "5"),
    ] {
        said = said.replace(&format!("{{{kind}}}"), with);
    }
    said
}

#[test]
fn every_phrase_is_understood_and_told_without_its_values() {
    let classified = Classified::default();
    let told = Told {
        text: "select customers",
        sent: None,
        classified: &classified,
    };
    let none = [0];
    let fields = ErrorResponse::parse(&none).unwrap().0;
    let names = Names::of(&fields, told, false);
    let tell = |code: Option<&str>, said: &str| match code {
        Some(code) => phrases::message(code, said, &names),
        None => phrases::more(said, &names),
    };
    for (code, phrase) in phrases::all() {
        let plain = said(phrase, "customers", SECRET);
        let answer = tell(code, &plain).unwrap_or_else(|| panic!("not understood: {plain}"));
        assert!(!answer.contains(SECRET), "{phrase}: {answer}");
        // Whatever a value looks like, and wherever a name stands that may be one.
        for value in ["a\" b", "x) already exists.", ") is still referenced", "]["] {
            let value = format!("{SECRET}{value}{SECRET}");
            if let Some(answer) = tell(code, &said(phrase, "customers", &value)) {
                assert!(!answer.contains(SECRET), "{phrase}: {answer}");
            }
        }
        if let Some(answer) = tell(code, &said(phrase, SECRET, "x")) {
            assert!(!answer.contains(SECRET), "{phrase}: {answer}");
        }
    }
}

#[test]
fn places_are_found_where_words_occur_once() {
    let sent = "SELECT c.nope, lower(id) FROM (SELECT __gateway_t.id, CASE WHEN true THEN 1 END AS \"email\" FROM public.customers __gateway_t) c WHERE id = 'x' AND id = 'x'";
    let agent =
        "select  C.nope, lower(id) -- c.nope\n from customers c where id = 'x' and id = 'x'";
    let at = |text: &str, what: &str| u32::try_from(text.find(what).unwrap() + 1).unwrap();
    let cases = [
        (at(sent, "c.nope"), Some(at(agent, "C.nope"))),
        (at(sent, "lower"), Some(at(agent, "lower"))),
        (at(sent, "'x' AND"), Some(at(agent, "'x' and"))),
        (at(sent, "__gateway_t.id"), None),
        (at(sent, "public"), None),
        // Between words, and behind the text.
        (at(sent, "ower"), None),
        (u32::try_from(sent.len()).unwrap() + 5, None),
    ];
    for (position, expected) in cases {
        assert_eq!(
            places::mapped(sent, position, agent),
            expected,
            "{position}"
        );
    }
    // Characters, not bytes.
    assert_eq!(
        places::mapped("SELECT 'ä', nope", 13, "select  'ä',  nope"),
        Some(15)
    );
    assert_eq!(places::mapped("a, a", 1, "a, a"), Some(1));
    assert_eq!(
        places::mapped("a a a a a a a a a a a a", 1, "a a a a a a a a a a a a"),
        None
    );
}

#[test]
fn names_are_what_postgresql_reads() {
    let names: Vec<String> =
        places::names("select \"A\"\"b\", Cc from t where x = 'secret' and y = 5")
            .map(|name| name.into_owned())
            .collect();
    assert_eq!(
        names,
        [
            "select", "A\"b", "cc", "from", "t", "where", "x", "and", "y"
        ]
    );
}
