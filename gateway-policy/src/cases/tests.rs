use super::*;
use crate::testing::{starter, toy_analysis};

#[test]
fn starter_bundle_passes_its_own_cases() {
    let bundle = Bundle::load(&starter(), None).unwrap_or_else(|errors| panic!("{errors}"));
    let suites = Suite::load(&starter()).unwrap_or_else(|errors| panic!("{errors}"));
    let mut count = 0;
    for suite in &suites {
        for outcome in suite
            .run(&bundle, toy_analysis)
            .expect("classification fits the catalogue")
        {
            assert!(
                outcome.failures.is_empty(),
                "{}: {:?}",
                outcome.name,
                outcome.failures
            );
            count += 1;
        }
    }
    assert!(count >= 17, "{count} cases");
}

#[test]
fn unmet_expectations_are_each_told_with_their_place() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let tests = folder.path().join("tests");
    std::fs::create_dir(&tests).expect("folder");
    std::fs::copy(
        starter().join("tests/catalogue.json"),
        tests.join("catalogue.json"),
    )
    .expect("copy");
    let text = r#"target = "shop"
environment = "prod"
catalogue = "catalogue.json"

[[case]]
name = "wrong in every way"
agent = "orders-bot"
roles = ["Gateway.Connect"]
statement = "drop table orders"
expect = "allow"
reason = "masking"
message = "hello"
rules = ["agents-may-read"]
masked = ["public.customers.email"]

[[case]]
name = "no such agent"
agent = "nobody"
expect = "allow"
"#;
    std::fs::write(tests.join("a.toml"), text).expect("write");
    let bundle = Bundle::load(&starter(), None).expect("starter loads");
    let suites = Suite::load(folder.path()).unwrap_or_else(|errors| panic!("{errors}"));
    let outcomes = suites[0]
        .run(&bundle, toy_analysis)
        .expect("classification fits");
    assert_eq!(outcomes[0].failures.len(), 5, "{:?}", outcomes[0].failures);
    assert_eq!(
        (outcomes[0].file.as_str(), outcomes[0].line),
        ("tests/a.toml", 5)
    );
    assert_eq!(
        outcomes[1].failures,
        ["agents.toml lists no agent `nobody`"]
    );
    assert!(outcomes[1].decision.is_none());
}

#[test]
fn mistakes_in_test_files_have_places() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let tests = folder.path().join("tests");
    std::fs::create_dir(&tests).expect("folder");
    let head = "target = \"shop\"\nenvironment = \"prod\"\ncatalogue = \"../../etc/passwd\"\n";
    std::fs::write(tests.join("a.toml"), head).expect("write");
    std::fs::write(
        tests.join("b.toml"),
        "target = \"shop\"\nenvironmen = \"prod\"\n",
    )
    .expect("write");
    let errors = Suite::load(folder.path()).expect_err("both files are wrong");
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(
        lines[0].starts_with("tests/a.toml:3:13: the catalogue lies beside"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("tests/b.toml:2:1: unknown field `environmen`"),
        "{lines:?}"
    );
}
