use gateway_core::catalogue::{Derivation, DerivationKind, DerivedIn, RelationId};

use super::*;
use crate::{
    Bundle,
    testing::{catalogue, files, starter},
};

fn shop() -> TargetName {
    TargetName::parse("shop").expect("target")
}

fn bundle(columns: &str) -> Bundle {
    let classes = r#"
[class.email]
mask = { method = "partial", keep = "domain" }
[class.secret]
mask = { method = "redact" }
"#;
    files(&[("classification.toml", &format!("{classes}{columns}"))])
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn entry(target: &str, name: [&str; 3], class: &str) -> String {
    format!("[[column]]\ntarget = \"{target}\"\nname = {name:?}\nclass = \"{class}\"\n")
}

fn paths(classification: &Classification) -> Vec<String> {
    classification
        .classified
        .columns()
        .map(|c| format!("{} {} {}", c.path(), c.class, c.transform.method()))
        .collect()
}

#[test]
fn starter_classifies_the_sample_shop() {
    let bundle = Bundle::load(&starter(), None).unwrap_or_else(|errors| panic!("{errors}"));
    let found = bundle.classify(&shop(), &catalogue()).expect("fits");
    assert_eq!(
        paths(&found),
        [
            "public.customers.email email partial",
            "public.customers.phone phone partial",
            "public.customers.national_id national_id redact",
            "public.customers.date_of_birth date_of_birth generalise",
        ]
    );
    assert!(found.unmatched.is_empty());
    let other = TargetName::parse("other").expect("target");
    assert!(
        bundle
            .classify(&other, &catalogue())
            .expect("fits")
            .classified
            .is_empty()
    );
    assert!(bundle.classifies(&shop()) && !bundle.classifies(&other));
}

#[test]
fn the_most_specific_entry_wins_whatever_the_order() {
    let wide = entry("*", ["*", "*", "email"], "secret");
    let exact = entry("shop", ["public", "customers", "email"], "email");
    for columns in [format!("{wide}{exact}"), format!("{exact}{wide}")] {
        let found = bundle(&columns)
            .classify(&shop(), &catalogue())
            .expect("fits");
        assert_eq!(paths(&found), ["public.customers.email email partial"]);
    }
}

#[test]
fn equally_specific_entries_of_different_classes_are_refused() {
    let columns = entry("shop", ["public", "*", "email"], "secret")
        + &entry("shop", ["*", "customers", "email"], "email");
    let errors = bundle(&columns)
        .classify(&shop(), &catalogue())
        .expect_err("ambiguous");
    assert!(
        matches!(&errors[..], [ClassifyError::Ambiguous { .. }]),
        "{errors:?}"
    );
}

#[test]
fn a_method_that_does_not_fit_the_type_is_refused_for_each_column() {
    let columns = entry("shop", ["public", "*", "id"], "email");
    let errors = bundle(&columns)
        .classify(&shop(), &catalogue())
        .expect_err("integers");
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert_eq!(
        errors[0].to_string(),
        "classification.toml:9: method `partial` of class `email` can't mask public.carts.id, \
         which is integer; it fits text, varchar, char and citext"
    );
}

#[test]
fn entries_that_match_nothing_are_told() {
    let columns = entry("shop", ["public", "customer", "email"], "email")
        + &entry("other", ["public", "x", "y"], "email");
    let found = bundle(&columns)
        .classify(&shop(), &catalogue())
        .expect("fits");
    let told: Vec<String> = found.unmatched.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["classification.toml:9: no column of database `shop` matches public.customer.email"]
    );
}

#[test]
fn what_derives_from_a_classified_column_is_classified_and_masked_by_a_method_that_fits() {
    let mut snapshot = catalogue();
    let customers = snapshot
        .relation("public", "customers")
        .expect("customers")
        .clone();
    let carts = snapshot.relation("public", "carts").expect("carts").clone();
    let email = customers.column_id(customers.column("email").expect("email"));
    snapshot.derivations.push(Derivation {
        source: email,
        derived: DerivedIn::Relation(carts.id),
        how: DerivationKind::View,
    });
    let columns = entry("shop", ["public", "customers", "email"], "email");
    let found = bundle(&columns).classify(&shop(), &snapshot).expect("fits");
    assert_eq!(
        paths(&found),
        [
            "public.customers.email email partial",
            "public.carts.id email null",
            "public.carts.customer_id email null",
            "public.carts.updated_at email null",
        ]
    );
    assert!(found.classified.is_whole(RelationId(carts.id.0)));
    let derived: Vec<_> = found.classified.columns().map(|c| c.derived).collect();
    assert_eq!(derived[0], None);
    assert_eq!(derived[1], Some(DerivationKind::View));
}
