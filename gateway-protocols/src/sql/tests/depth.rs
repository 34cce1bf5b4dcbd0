//! Bounds: depth, length, arbitrary bytes.

use proptest::prelude::*;

use super::*;

fn nested(shape: &str, depth: usize) -> String {
    match shape {
        "concatenation" => format!("select 'a'{}", " || 'a'".repeat(depth)),
        "parentheses" => format!("select {}1{}", "(".repeat(depth), ")".repeat(depth)),
        "or" => format!("select 1 where true{}", " or false".repeat(depth)),
        "mixed" => format!(
            "select 1 where {}true{}",
            "not (".repeat(depth),
            ")".repeat(depth)
        ),
        "subqueries" => {
            format!(
                "{}select 1{}",
                "select * from (".repeat(depth),
                ") s".repeat(depth)
            )
        }
        "functions" => format!("select {}1{}", "abs(".repeat(depth), ")".repeat(depth)),
        "unions" => format!("select 1{}", " union select 1".repeat(depth)),
        "ctes" => {
            format!(
                "{}select 1{}",
                "with a as (".repeat(depth),
                ") select 1".repeat(depth)
            )
        }
        "joins" => format!("select 1 from orders{}", " cross join orders".repeat(depth)),
        "cases" => {
            format!(
                "select {}1{}",
                "case when true then ".repeat(depth),
                " end".repeat(depth)
            )
        }
        "casts" => format!("select 1{}", "::int".repeat(depth)),
        "minuses" => format!("select {}a", "- ".repeat(depth)),
        "arrays" => format!("select {}1{}", "array[".repeat(depth), "]".repeat(depth)),
        "subscripts" => format!("select (a){}", "[1]".repeat(depth)),
        other => panic!("no shape {other}"),
    }
}

const SHAPES: &[&str] = &[
    "concatenation",
    "parentheses",
    "or",
    "mixed",
    "subqueries",
    "functions",
    "unions",
    "ctes",
    "joins",
    "cases",
    "casts",
    "minuses",
    "arrays",
    "subscripts",
];

#[test]
fn depth_that_tools_emit_is_analysed() {
    let (snapshot, classified) = (shop(), Classified::default());
    for shape in SHAPES {
        let text = nested(shape, 400);
        let analysis = on_analysis_stack(|| analysed(&text, &snapshot, &classified));
        assert_eq!(analysis.inspection, Inspection::Full, "{shape}");
    }
}

#[test]
fn hopeless_depth_is_opaque_and_never_an_abort() {
    let (snapshot, classified) = (shop(), classification(&shop()));
    for shape in SHAPES {
        for depth in [3_000, 10_000, 60_000] {
            let text = nested(shape, depth);
            let analysis = on_analysis_stack(|| analysed(&text, &snapshot, &classified));
            if analysis.inspection != Inspection::Full {
                assert_eq!(
                    effects_of(&analysis).split(',').next(),
                    Some("opaque *"),
                    "{shape}"
                );
            }
        }
    }
}

#[test]
fn texts_past_the_bound_are_opaque() {
    let text = format!("select '{}'", "a".repeat(TEXT_BYTES_MAX));
    let analysis = analysed(&text, &shop(), &Classified::default());
    assert!(matches!(analysis.inspection, Inspection::Opaque { .. }));
    let text = format!("select 1{}", ",1".repeat(TOKENS_MAX / 2));
    assert_eq!(parse(&text), Err(ParseFailure::TooLong));
    assert_eq!(parse("select 1\0"), Err(ParseFailure::ZeroByte));
}

/// Words that make deep and odd, but often valid, statements.
fn sql() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "select",
        "email",
        "*",
        "from",
        "customers",
        "c",
        ",",
        "(",
        ")",
        "where",
        "=",
        "'x'",
        "1",
        "with",
        "as",
        "update",
        "set",
        "delete",
        "insert",
        "into",
        "values",
        "union",
        "c.*",
        "$1",
        "copy",
        "to",
        "stdout",
        "explain",
        "drop",
        "table",
        "alter",
        "grant",
        "all",
        "on",
        "lower",
        "||",
        "::",
        "text",
        "order",
        "by",
        "limit",
        "do",
        "$$",
        "/*",
        "--",
        ";",
        "begin",
        "E'",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    /// The fuzzers' entry point, too: whatever the text, an analysis comes out, its ranges lie
    /// within the text, and what isn't understood has the effect `opaque`.
    #[test]
    fn analysis_is_total(text in prop_oneof![any::<String>(), sql()]) {
        let snapshot = shop();
        let classified = classification(&snapshot);
        let analysis = on_analysis_stack(|| analysed(&text, &snapshot, &classified));
        let opaque = analysis.effects.iter().any(|effect| effect.action == Action::Opaque);
        prop_assert_eq!(opaque, analysis.inspection != Inspection::Full);
        prop_assert!(analysis.effects.is_sorted());
        for span in analysis.statements.iter().map(|s| &s.span).chain(&analysis.sensitive) {
            prop_assert!(span.start <= span.end && span.end <= text.len());
        }
        if opaque {
            prop_assert_eq!(analysis.classified.columns.len(), classified.columns().count());
        }
    }
}
