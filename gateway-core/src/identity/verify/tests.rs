use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::identity::{
    Groups, PrincipalKind,
    testing::{
        AUDIENCE, AUTHORITY, NOW_S, SigningKey, TENANT, app_claims, header, signing_input,
        signing_key, user_claims,
    },
};

const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";

fn rules() -> TokenRules {
    let tenant = TenantId::parse(TENANT).unwrap();
    TokenRules::new(AUTHORITY, [tenant], [AUDIENCE.to_owned()]).unwrap()
}

fn keys() -> KeySet {
    let mut jwk = signing_key().jwk("k1");
    jwk["issuer"] = json!("https://login.example/{tenantid}/v2.0");
    let mut consumers = signing_key().jwk("consumers");
    consumers["issuer"] = json!("https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0");
    KeySet::parse(json!({ "keys": [jwk, consumers] }).to_string().as_bytes()).unwrap()
}

fn check_at(token: &str, now_s: u64) -> Result<Principal, TokenRejection> {
    verify(token, &keys(), &rules(), Wall::from_secs(now_s)).map(Authenticated::into_inner)
}

fn check(token: &str) -> Result<Principal, TokenRejection> {
    check_at(token, NOW_S)
}

fn with(mut base: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        base[*name] = value.clone();
    }
    base
}

fn app_token(changes: &[(&str, Value)]) -> String {
    signing_key().token(&header(), &with(app_claims(), changes))
}

fn user_token(changes: &[(&str, Value)]) -> String {
    signing_key().token(&header(), &with(user_claims(), changes))
}

fn header_token(changes: &[(&str, Value)]) -> String {
    signing_key().token(&with(header(), changes), &app_claims())
}

#[test]
fn application_token_gives_its_principal() {
    let principal = check(&app_token(&[("roles", json!(["b", "a", "b"]))])).unwrap();
    assert_eq!(principal.tenant.to_string(), TENANT);
    assert_eq!(
        principal.object.to_string(),
        "aaaaaaaa-0000-4000-8000-000000000001"
    );
    assert_eq!(
        principal.app.to_string(),
        "bbbbbbbb-0000-4000-8000-000000000001"
    );
    assert_eq!(principal.kind, PrincipalKind::Application);
    assert_eq!(principal.roles, ["a", "b"]);
    assert_eq!(principal.groups, Groups::Known(vec![]));
    assert_eq!(principal.token_id, "dGhlLXRva2VuLWlk");
    assert_eq!(principal.client_auth, Some(1));
    assert_eq!(principal.issued_at, Wall::from_secs(NOW_S - 10));
    assert_eq!(principal.expires_at, Wall::from_secs(NOW_S + 3600));
    assert_eq!(principal.display_name, "");
}

#[test]
fn user_token_gives_a_person_with_groups() {
    let principal = check(&user_token(&[])).unwrap();
    assert_eq!(principal.kind, PrincipalKind::User);
    assert_eq!(principal.display_name, "Rita Reviewer");
    let Groups::Known(groups) = &principal.groups else {
        panic!("groups are known")
    };
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    assert_eq!(
        groups,
        [
            "cccccccc-0000-4000-8000-000000000001",
            "cccccccc-0000-4000-8000-000000000002"
        ]
    );
}

#[test]
fn group_overage_is_unknown_membership() {
    let names = json!({ "groups": "src1" });
    for changes in [("_claim_names", names), ("hasgroups", json!(true))] {
        assert_eq!(
            check(&user_token(&[changes])).unwrap().groups,
            Groups::Overage
        );
    }
    let other = [
        ("_claim_names", json!({ "wids": "src1" })),
        ("groups", Value::Null),
    ];
    assert_eq!(
        check(&user_token(&other)).unwrap().groups,
        Groups::Known(vec![])
    );
}

#[test]
fn application_or_person_is_decided_by_idtyp_then_scope_and_subject() {
    use PrincipalKind::{Application, User};
    let object = json!("aaaaaaaa-0000-4000-8000-000000000001");
    let (pairwise, scope, none) = (json!("pairwise"), json!("gateway.access"), Value::Null);
    let cases = [
        (json!("app"), &none, &object, Ok(Application)),
        (json!("app"), &none, &pairwise, Ok(Application)),
        (none.clone(), &none, &object, Ok(Application)),
        (none.clone(), &scope, &pairwise, Ok(User)),
        (none.clone(), &scope, &object, Ok(User)),
        (json!("user"), &scope, &pairwise, Ok(User)),
        (
            json!("app"),
            &scope,
            &object,
            Err(TokenRejection::InvalidClaim("idtyp")),
        ),
        (
            json!("device"),
            &none,
            &object,
            Err(TokenRejection::InvalidClaim("idtyp")),
        ),
        (
            json!("user"),
            &none,
            &object,
            Err(TokenRejection::MissingClaim("scp")),
        ),
        (
            none.clone(),
            &none,
            &pairwise,
            Err(TokenRejection::MissingClaim("scp")),
        ),
    ];
    for (idtyp, scp, sub, expected) in cases {
        let changes = [("idtyp", idtyp), ("scp", scp.clone()), ("sub", sub.clone())];
        assert_eq!(
            check(&app_token(&changes)).map(|who| who.kind),
            expected,
            "{changes:?}"
        );
    }
}

#[test]
fn every_claim_is_required_and_checked() {
    use TokenRejection::{
        Audience, InvalidClaim, Issuer, Malformed, MissingClaim, Tenant, Version,
    };
    let issuer = |tenant: &str| json!(format!("{AUTHORITY}/{tenant}/v2.0"));
    let cases: &[(&[(&str, Value)], TokenRejection)] = &[
        (&[("ver", Value::Null)], MissingClaim("ver")),
        (&[("ver", json!("1.0"))], Version),
        (&[("ver", json!(2.0))], Malformed("claims")),
        (&[("iss", Value::Null)], MissingClaim("iss")),
        (
            &[(
                "iss",
                json!("https://sts.windows.net/11111111-2222-4333-8444-555555555555/"),
            )],
            Issuer,
        ),
        (
            &[(
                "iss",
                json!("https://login.example/11111111-2222-4333-8444-555555555555/v2.0/"),
            )],
            Issuer,
        ),
        (&[("iss", issuer(OTHER_TENANT))], Issuer),
        (&[("iss", issuer("{tenantid}"))], Issuer),
        (
            &[(
                "iss",
                json!(["https://login.example/11111111-2222-4333-8444-555555555555/v2.0"]),
            )],
            Malformed("claims"),
        ),
        (&[("tid", Value::Null)], MissingClaim("tid")),
        (&[("tid", json!("common"))], InvalidClaim("tid")),
        (&[("tid", json!(OTHER_TENANT))], Tenant),
        (
            &[("tid", json!(OTHER_TENANT)), ("iss", issuer(OTHER_TENANT))],
            Tenant,
        ),
        (&[("aud", Value::Null)], MissingClaim("aud")),
        (
            &[("aud", json!("00000003-0000-0000-c000-000000000000"))],
            Audience,
        ),
        (&[("aud", json!(AUDIENCE.to_uppercase()))], Audience),
        (&[("aud", json!([AUDIENCE, "other"]))], Malformed("claims")),
        (&[("exp", Value::Null)], MissingClaim("exp")),
        (&[("exp", json!("1790003600"))], Malformed("claims")),
        (&[("exp", json!(-1))], Malformed("claims")),
        (&[("nbf", Value::Null)], MissingClaim("nbf")),
        (&[("iat", Value::Null)], MissingClaim("iat")),
        (&[("oid", Value::Null)], MissingClaim("oid")),
        (&[("oid", json!("me"))], InvalidClaim("oid")),
        (&[("sub", Value::Null)], MissingClaim("sub")),
        (&[("azp", Value::Null)], MissingClaim("azp")),
        (&[("azp", json!(""))], MissingClaim("azp")),
        (&[("azp", json!("psql"))], InvalidClaim("azp")),
        (&[("azpacr", json!("3"))], InvalidClaim("azpacr")),
        (
            &[("groups", json!(["Domain Admins"]))],
            InvalidClaim("groups"),
        ),
        (&[("roles", json!("Gateway.Connect"))], Malformed("claims")),
    ];
    for (changes, expected) in cases {
        assert_eq!(
            check(&app_token(changes)).unwrap_err(),
            *expected,
            "{changes:?}"
        );
    }
}

#[test]
fn a_duplicated_claim_refuses_the_token() {
    let genuine = app_claims().to_string();
    let doubled = format!(
        "{{\"tid\":\"{OTHER_TENANT}\",{}",
        genuine.strip_prefix('{').unwrap()
    );
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header().to_string()),
        URL_SAFE_NO_PAD.encode(doubled)
    );
    let token = format!(
        "{input}.{}",
        URL_SAFE_NO_PAD.encode(signing_key().sign(input.as_bytes()))
    );
    assert_eq!(
        check(&token).unwrap_err(),
        TokenRejection::Malformed("claims")
    );
}

#[test]
fn lifetime_is_checked_with_a_minute_of_leeway() {
    use TokenRejection::{Expired, NotYetValid};
    let token = app_token(&[]);
    let (first, last) = (NOW_S - 10 - 60, NOW_S + 3600 + 59);
    for (now_s, expected) in [
        (0, Err(NotYetValid)),
        (first - 1, Err(NotYetValid)),
        (first, Ok(())),
        (NOW_S, Ok(())),
        (last, Ok(())),
        (last + 1, Err(Expired)),
        (u64::MAX / 2_000_000, Err(Expired)),
    ] {
        assert_eq!(check_at(&token, now_s).map(|_| ()), expected, "{now_s}");
    }
    let future = [("nbf", json!(NOW_S + 61)), ("iat", json!(NOW_S + 61))];
    for change in future {
        assert_eq!(check(&app_token(&[change])).unwrap_err(), NotYetValid);
    }
    let forever = app_token(&[("exp", json!(u64::MAX))]);
    assert_eq!(check(&forever).map(|_| ()), Ok(()), "no overflow");
}

#[test]
fn demanded_roles_and_scopes_are_demanded_of_their_own_kind() {
    let rules = rules()
        .with_app_roles(["Gateway.Connect".to_owned()])
        .with_scopes(["gateway.access".to_owned()]);
    let check = |token: &str| verify(token, &keys(), &rules, Wall::from_secs(NOW_S)).map(|_| ());
    assert_eq!(check(&app_token(&[])), Ok(()));
    assert_eq!(
        check(&app_token(&[("roles", json!([]))])),
        Err(TokenRejection::Role)
    );
    assert_eq!(
        check(&app_token(&[("roles", json!(["gateway.connect"]))])),
        Err(TokenRejection::Role)
    );
    assert_eq!(
        check(&user_token(&[
            ("scp", json!("openid gateway.access")),
            ("roles", json!([]))
        ])),
        Ok(())
    );
    assert_eq!(
        check(&user_token(&[("scp", json!("openid gateway.accessories"))])),
        Err(TokenRejection::Scope)
    );
}

#[test]
fn only_rs256_is_verified() {
    for alg in [
        "none", "None", "HS256", "HS512", "RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "",
    ] {
        let token = header_token(&[("alg", json!(alg))]);
        assert_eq!(
            check(&token).unwrap_err(),
            TokenRejection::AlgorithmNotAllowed,
            "{alg}"
        );
    }
    let unsigned = format!(
        "{}.",
        signing_input(&with(header(), &[("alg", json!("none"))]), &app_claims())
    );
    assert_eq!(
        check(&unsigned).unwrap_err(),
        TokenRejection::AlgorithmNotAllowed
    );
    let critical = header_token(&[("crit", json!(["b64"])), ("b64", json!(false))]);
    assert_eq!(
        check(&critical).unwrap_err(),
        TokenRejection::AlgorithmNotAllowed
    );
}

#[test]
fn hmac_with_the_public_key_as_secret_is_rejected() {
    let input = signing_input(&with(header(), &[("alg", json!("HS256"))]), &app_claims());
    let secret = hmac::Key::new(hmac::HMAC_SHA256, signing_key().public_der());
    let forged = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, input.as_bytes()));
    assert_eq!(
        check(&format!("{input}.{forged}")).unwrap_err(),
        TokenRejection::AlgorithmNotAllowed
    );
    let relabelled = signing_input(&header(), &app_claims());
    assert_eq!(
        check(&format!("{relabelled}.{forged}")).unwrap_err(),
        TokenRejection::Signature
    );
}

#[test]
fn keys_and_signatures_must_be_the_issuers() {
    let unknown = header_token(&[("kid", json!("k2"))]);
    assert_eq!(check(&unknown).unwrap_err(), TokenRejection::UnknownKey);
    let consumers = header_token(&[("kid", json!("consumers"))]);
    assert_eq!(check(&consumers).unwrap_err(), TokenRejection::KeyIssuer);

    let mallory = SigningKey::generate();
    let own_key = mallory.token(
        &with(header(), &[("jwk", mallory.jwk("k1"))]),
        &app_claims(),
    );
    assert_eq!(check(&own_key).unwrap_err(), TokenRejection::Signature);

    let genuine = app_token(&[]);
    let (_, signature) = genuine.rsplit_once('.').unwrap();
    let tampered = signing_input(
        &header(),
        &with(app_claims(), &[("roles", json!(["Gateway.Admin"]))]),
    );
    assert_eq!(
        check(&format!("{tampered}.{signature}")).unwrap_err(),
        TokenRejection::Signature
    );
    let unsigned = signing_input(&header(), &app_claims());
    assert_eq!(
        check(&format!("{unsigned}.")).unwrap_err(),
        TokenRejection::Signature
    );
}

#[test]
fn what_is_no_compact_jws_is_malformed() {
    use TokenRejection::{Malformed, TooLarge};
    let genuine = app_token(&[]);
    let parts: Vec<&str> = genuine.split('.').collect();
    let cases = [
        (String::new(), Malformed("expected three parts")),
        ("token".to_owned(), Malformed("expected three parts")),
        ("a.b".to_owned(), Malformed("expected three parts")),
        (format!("{genuine}.x"), Malformed("expected three parts")),
        (format!("{genuine}.."), Malformed("expected three parts")),
        (format!(".{}.{}", parts[1], parts[2]), Malformed("header")),
        (format!("{}..{}", parts[0], parts[2]), Malformed("claims")),
        (format!("{}={genuine}", ""), Malformed("header")),
        (format!("{genuine}="), Malformed("signature")),
        (format!("{genuine} "), Malformed("signature")),
        (format!("Bearer {genuine}"), Malformed("header")),
        (
            header_token(&[("kid", Value::Null)]),
            Malformed("header without key id"),
        ),
        (
            header_token(&[("typ", json!("dpop+jwt"))]),
            Malformed("unexpected type"),
        ),
        (header_token(&[("alg", Value::Null)]), Malformed("header")),
        ("a".repeat(TOKEN_BYTES_MAX + 1), TooLarge),
    ];
    for (token, expected) in cases {
        assert_eq!(check(&token).unwrap_err(), expected, "{token:.60}");
    }
}

#[test]
fn rejections_have_distinct_codes_and_never_quote_the_token() {
    let marker = "s3cr3t-marker";
    for name in ["ver", "iss", "aud", "tid", "oid", "azp", "azpacr", "idtyp"] {
        let rejection = check(&app_token(&[(name, json!(marker))])).unwrap_err();
        assert!(!rejection.to_string().contains(marker), "{rejection}");
        assert!(!format!("{rejection:?}").contains(marker), "{rejection:?}");
    }
    let token = app_token(&[]);
    let parsed = UnverifiedToken::parse(&token).unwrap();
    assert_eq!(format!("{parsed:?}"), "UnverifiedToken { .. }");
}

proptest! {
    #[test]
    fn verify_never_panics(token in ".*") {
        let _ = check(&token);
    }

    #[test]
    fn arbitrary_json_parts_never_panic_and_never_pass(header in ".{0,200}", claims in ".{0,400}") {
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", encode(header), encode(claims));
        prop_assert!(check(&token).is_err());
    }

    #[test]
    fn any_changed_byte_is_rejected(at in 0_usize..4096, with in any::<u8>()) {
        let genuine = app_token(&[]);
        let mut bytes = genuine.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = with;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert_eq!(check(&changed).is_ok(), changed == genuine);
        }
    }
}

#[test]
fn every_committed_fuzz_input_is_read_or_rejected() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/tokens");
    let mut rejections = Vec::new();
    for entry in std::fs::read_dir(corpus).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        if let Ok(token) = std::str::from_utf8(&input) {
            rejections.push(check(token).expect_err("nobody signed it"));
        }
        let _ = KeySet::parse(&input).is_ok();
    }
    assert!(
        rejections.contains(&TokenRejection::Signature),
        "no input reaches the signature: {rejections:?}"
    );
}

/// Claims of an app-only v1.0 token.
fn v1_claims() -> Value {
    with(
        app_claims(),
        &[
            ("ver", json!("1.0")),
            ("iss", json!(format!("https://sts.example/{TENANT}/"))),
            ("aud", json!("api://gateway")),
            ("azp", Value::Null),
            ("azpacr", Value::Null),
            ("appid", json!("bbbbbbbb-0000-4000-8000-000000000001")),
            ("appidacr", json!("2")),
        ],
    )
}

#[test]
fn v1_tokens_are_accepted_where_the_rules_say_so_and_from_their_own_issuer_only() {
    let tenant = TenantId::parse(TENANT).unwrap();
    let audiences = [AUDIENCE, "api://gateway"].map(str::to_owned);
    let rules = TokenRules::new(AUTHORITY, [tenant], audiences).unwrap();
    let with_v1 = rules
        .clone()
        .with_v1_tokens("https://sts.example/")
        .unwrap();
    let mut jwk = signing_key().jwk("k1");
    jwk["issuer"] = json!("https://sts.example/{tenantid}/");
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let check = |rules: &TokenRules, changes: &[(&str, Value)]| {
        let token = signing_key().token(&header(), &with(v1_claims(), changes));
        verify(&token, &keys, rules, Wall::from_secs(NOW_S)).map(Authenticated::into_inner)
    };
    let principal = check(&with_v1, &[]).unwrap();
    assert_eq!(principal.kind, PrincipalKind::Application);
    assert_eq!(principal.client_auth, Some(2));
    assert_eq!(
        principal.app.to_string(),
        "bbbbbbbb-0000-4000-8000-000000000001"
    );
    assert_eq!(check(&rules, &[]), Err(TokenRejection::Version));

    let v2 = format!("{AUTHORITY}/{TENANT}/v2.0");
    let client = json!("bbbbbbbb-0000-4000-8000-000000000001");
    for (changes, rejection) in [
        (vec![("iss", json!(v2))], TokenRejection::Issuer),
        // One format's client in the other's claim.
        (
            vec![("appid", Value::Null), ("azp", client)],
            TokenRejection::MissingClaim("appid"),
        ),
        (
            vec![("appidacr", json!("9"))],
            TokenRejection::InvalidClaim("appidacr"),
        ),
        (
            vec![("aud", json!("api://other"))],
            TokenRejection::Audience,
        ),
        // A v1.0 issuer in what calls itself v2.0.
        (vec![("ver", json!("2.0"))], TokenRejection::Issuer),
        (vec![("ver", json!("3.0"))], TokenRejection::Version),
    ] {
        assert_eq!(check(&with_v1, &changes), Err(rejection), "{changes:?}");
    }
    // A key of the v2.0 issuer signs no v1.0 token.
    let mut jwk = signing_key().jwk("k1");
    jwk["issuer"] = json!("https://login.example/{tenantid}/v2.0");
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let token = signing_key().token(&header(), &v1_claims());
    assert_eq!(
        verify(&token, &keys, &with_v1, Wall::from_secs(NOW_S)).map(Authenticated::into_inner),
        Err(TokenRejection::KeyIssuer)
    );
}
