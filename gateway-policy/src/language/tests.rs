use crate::testing::{files, starter};
use crate::{Bundle, BundleFiles, MaskKey};

const PERMIT: &str = r#"permit (principal, action, resource);"#;

/// First mistake of a `rules.cedar`, as `line:column: message | help`.
fn first_mistake(rules: &str) -> String {
    let errors = files(&[("rules.cedar", rules)]).expect_err(rules);
    let first = errors.iter().next().expect("at least one");
    format!("{first} | {}", first.suggestion().unwrap_or("-"))
}

#[test]
fn mistakes_in_rules_are_refused_with_their_place() {
    for (rules, place, says) in [
        (
            "permit (principal, action, resource)",
            "1:37",
            "unexpected end",
        ),
        (PERMIT, "1:1", "a rule needs an `@id"),
        (&format!("@id(\"a b\") {PERMIT}"), "1:1", "invalid RuleId"),
        (
            &format!("@id(\"a\") {PERMIT}\n@id(\"a\") {PERMIT}"),
            "2:1",
            "used twice",
        ),
        (
            &format!("@id(\"a\")\n@hodl(\"x\") {PERMIT}"),
            "2:1",
            "unknown annotation `@hodl` | did you mean `hold`?",
        ),
        (
            &format!("@id(\"a\") @approvers(\"2\") {PERMIT}"),
            "1:10",
            "needs `@hold`",
        ),
        (
            &format!("@id(\"a\") @hold(\"r\") {PERMIT}"),
            "1:10",
            "a hold is a `forbid`",
        ),
        (
            "@id(\"a\") @hold(\"r\") forbid (principal, action, resource);",
            "1:10",
            "a hold is a `forbid`",
        ),
        (
            "@id(\"a\") @hold(\"r\") @approvers(\"0\") forbid (principal, action, resource) unless { context.approved };",
            "1:21",
            "from 1 to 20",
        ),
        (
            "@id(\"a\") @hold(\"r\") @expires(\"25h\") forbid (principal, action, resource) unless { context.approved };",
            "1:21",
            "at most 24 h",
        ),
        (
            "@id(\"a\") @hold(\"r\") @owner(\"me\") forbid (principal, action, resource) unless { context.approved };",
            "1:21",
            "can only be",
        ),
        (
            "@id(\"a\") permit (principal, action, resource) when { context.approved };",
            "1:1",
            "may read `context.approved`",
        ),
        (
            "@id(\"a\") @hold(\"r\") forbid (principal, action, resource) when { !context.approved } unless { context.approved };",
            "1:1",
            "may read `context.approved`",
        ),
        (
            "@id(\"a\") permit (principal, action, resource) when { (if true then context else context).approved };",
            "1:1",
            "used as a whole",
        ),
        (
            "@id(\"a\") permit (principal == ?principal, action, resource);",
            "1:1",
            "templates",
        ),
        (
            "@id(\"a\")\npermit (principal in Rolle::\"x\", action, resource);",
            "2:22",
            "unrecognized entity type `Rolle` | did you mean `Role`?",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"sql.selct\", resource);",
            "1:39",
            "did you mean `Action::\"sql.select\"`?",
        ),
        (
            "@id(\"a\") permit (principal, action in Action::\"sql.read\", resource) when { context.limt < 5 };",
            "1:76",
            "did you mean `limit`?",
        ),
        (
            "@id(\"a\") permit (principal, action in Action::\"sql.read\", resource) when { context.limit < 5 };",
            "1:76",
            "limit",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"sql.write\", resource);",
            "1:1",
            "unable to find an applicable action",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"reveal\", resource is Table);",
            "1:1",
            "",
        ),
    ] {
        let mistake = first_mistake(rules);
        assert!(
            mistake.starts_with(&format!("rules.cedar:{place}: ")),
            "{rules}\n{mistake}"
        );
        assert!(mistake.contains(says), "{rules}\n{mistake}");
    }
}

#[test]
fn every_mistake_in_every_file_is_reported() {
    let errors = files(&[
        ("a.cedar", &format!("{PERMIT}\n@id(\"x\") {PERMIT}\n@id(\"x\") @bad {PERMIT}")),
        ("agents.toml", "[[agent]]\ntenant = \"t\"\nobject = \"o\"\nname = \"\"\n"),
        ("b.cedar", "permit ("),
        ("classification.toml", "[class.a]\nmask = { method = \"redcat\" }\n[[column]]\ntarget = \"*\"\nname = [\"a\"]\nclass = \"b\"\n"),
        ("gateway.cedarschema", "entity User;"),
    ])
    .expect_err("all are wrong");
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 10, "{lines:#?}");
    for file in [
        "a.cedar:",
        "agents.toml:",
        "b.cedar:",
        "classification.toml:",
        "gateway.cedarschema:",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(file)),
            "{file} {lines:#?}"
        );
    }
}

#[test]
fn mistakes_in_the_classification_are_refused_with_their_place() {
    let column = "\n[[column]]\ntarget = \"*\"\nname = [\"a\", \"b\", \"c\"]\nclass = \"a\"\n";
    for (mask, says) in [
        ("method = \"redcat\"", "unknown mask method `redcat`"),
        (
            "method = \"redact\", keep = \"domain\"",
            "`keep` isn't an option of `redact`",
        ),
        ("method = \"partial\"", "takes one of"),
        (
            "method = \"partial\", keep_first = 1, keep_last = 1",
            "takes one of",
        ),
        ("method = \"partial\", keep_last = 9", "at most 8"),
        ("method = \"partial\", keep_last = 0", "at least 1"),
        ("method = \"generalise\", to = \"day\"", "generalise"),
        ("method = \"generalise\", bucket = 1", "generalise"),
        ("method = \"hash\"", "needs a mask key"),
        ("method = \"null\", wiht = \"x\"", "unknown field `wiht`"),
    ] {
        let text = format!("[class.a]\nmask = {{ {mask} }}{column}");
        let errors = files(&[("classification.toml", &text)]).expect_err(mask);
        let first = errors.iter().next().expect("one").to_string();
        assert!(first.starts_with("classification.toml:2:"), "{first}");
        assert!(first.contains(says), "{first}");
    }
    let text = format!("[class.aa]\nmask = {{ method = \"null\" }}{column}");
    let errors = files(&[("classification.toml", &text)]).expect_err("class is unknown");
    let first = errors.iter().next().expect("one");
    assert_eq!(
        first.to_string(),
        "classification.toml:6:9: unknown class `a`"
    );
    let key = MaskKey::new(&[7; 32]).expect("32 bytes");
    let text = format!("[class.a]\nmask = {{ method = \"hash\" }}{column}");
    let files = BundleFiles::new([("classification.toml".to_owned(), text)]);
    Bundle::parse(&files, Some(&key)).expect("a key makes it right");
}

#[test]
fn mistakes_in_fields_and_detections_are_refused_with_their_place() {
    let classes = "class.a.mask = { method = \"redact\" }\nclass.n.mask = { method = \"null\" }\n";
    let field = |resource: &str, path: &str| {
        format!(
            "[[field]]\ntarget = \"*\"\nresource = \"{resource}\"\npath = {path}\nclass = \"a\"\n"
        )
    };
    let detect = |kind: &str, class: &str| {
        format!("[[detect]]\ntarget = \"*\"\nkind = \"{kind}\"\nclass = \"{class}\"\n")
    };
    for (text, says) in [
        (field("", "[\"x\"]"), "5:12: `resource` is the plural name"),
        (
            field("pods/log", "[\"x\"]"),
            "5:12: `resource` is the plural name",
        ),
        (field("pods", "[]"), "6:8: `path` has 1 to 16 steps"),
        (
            field("pods", "[\"a\", \"\"]"),
            "6:8: `path` has 1 to 16 steps",
        ),
        (
            field("pods", "[\"x\"]").replace("\"a\"", "\"b\""),
            "7:9: unknown class `b`",
        ),
        (detect("card_nmber", "a"), "5:8: unknown kind `card_nmber`"),
        (detect("ssn", "a"), "5:8: unknown kind `ssn`"),
        (detect("iban", "b"), "6:9: unknown class `b`"),
        (
            detect("iban", "n"),
            "6:9: method `null` of class `n` can't mask",
        ),
        (
            field("pods", "[\"x\"]").repeat(257),
            "257 of `[[field]]`; at most 256",
        ),
    ] {
        let errors =
            files(&[("classification.toml", &format!("{classes}{text}"))]).expect_err(says);
        let first = errors.iter().next().expect("one").to_string();
        assert!(first.contains(says), "{first}");
    }
}

#[test]
fn digest_depends_on_names_and_content_of_what_decides() {
    let digest = |files: &[(&str, &str)]| {
        BundleFiles::new(
            files
                .iter()
                .map(|(n, t)| ((*n).to_owned(), (*t).to_owned())),
        )
        .digest()
    };
    let base = digest(&[("a.cedar", "x"), ("b.cedar", "y")]);
    assert_eq!(
        base,
        digest(&[("b.cedar", "y"), ("a.cedar", "x"), ("README.md", "z")])
    );
    for other in [
        &[("a.cedar", "x"), ("b.cedar", "z")][..],
        &[("a.cedar", "x"), ("c.cedar", "y")],
        &[("a.cedar", "xb.cedary")],
        &[("a.cedar", "x")],
    ] {
        assert_ne!(base, digest(other));
    }
}

#[test]
fn folder_and_files_are_the_same_bundle() {
    let loaded = Bundle::load(&starter(), None).unwrap_or_else(|errors| panic!("{errors}"));
    let files = BundleFiles::read(&starter()).expect("files");
    assert_eq!(loaded.digest(), files.digest());
    let missing = Bundle::load(&starter().join("nowhere"), None).expect_err("no folder");
    assert!(missing.to_string().contains("nowhere"));
}
