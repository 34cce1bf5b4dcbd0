use super::*;
use crate::testing::{Toy, starter, starters};

#[test]
fn starter_bundles_pass_their_own_cases() {
    for (name, count_min) in [("postgres", 17), ("ssh", 40), ("kubernetes", 40)] {
        let folder = starters().join(name);
        let bundle = Bundle::load(&folder, None).unwrap_or_else(|errors| panic!("{errors}"));
        let suites = Suite::load(&folder).unwrap_or_else(|errors| panic!("{errors}"));
        let mut count = 0;
        for suite in &suites {
            for outcome in suite.run(&bundle, &Toy).expect("classification fits") {
                let (case, failures) = (&outcome.name, &outcome.failures);
                assert!(failures.is_empty(), "{name}: {case}: {failures:?}");
                count += 1;
            }
        }
        assert!(count >= count_min, "{name}: {count} cases");
    }
}

#[test]
fn a_case_asks_for_one_thing_and_statements_need_a_catalogue() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let tests = folder.path().join("tests");
    std::fs::create_dir(&tests).expect("folder");
    let text = r#"target = "web"
environment = "prod"
protocol = "ssh"
[[case]]
name = "two"
command = "ls"
shell = true
expect = "deny"
[[case]]
name = "sql"
statement = "select 1"
expect = "deny"
[[case]]
name = "no path"
request = "GET"
expect = "deny"
[[case]]
name = "no template"
command = "ls"
template = "list"
expect = "deny"
"#;
    std::fs::write(tests.join("a.toml"), text).expect("write");
    let bundle = crate::testing::bundle("");
    let suites = Suite::load(folder.path()).unwrap_or_else(|errors| panic!("{errors}"));
    let outcomes = suites[0].run(&bundle, &Toy).expect("nothing is classified");
    let failures: Vec<_> = outcomes
        .iter()
        .map(|outcome| &outcome.failures[0])
        .collect();
    assert_eq!(
        failures,
        [
            "a case asks for one thing",
            "statements need a `catalogue`",
            "`request` is a method and a path",
            "expected template `list`, got `none`"
        ]
    );
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
    let outcomes = suites[0].run(&bundle, &Toy).expect("classification fits");
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
