//! Decisions by the starter policy, alone and among 500 more rules.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;

use benches::Sample;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway_core::{
    decision::{DecisionPoint as _, Request, SessionFacts, Verdict},
    operation::Operation,
};

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for rules in [0, 500] {
        let sample = Sample::new(rules).unwrap();
        let facts = SessionFacts {
            source: [127, 0, 0, 1].into(),
            database: "shop".to_owned(),
        };
        let operation = sample
            .query("select id, name, email from customers where id = 7")
            .unwrap();
        let request = |operation: &Operation, facts: &SessionFacts| -> bool {
            let request = Request {
                principal: &sample.principal,
                target: &sample.target,
                operation,
                facts,
                approved: &[],
            };
            let decision = sample.bundle.decide(Sample::now(), black_box(&request));
            matches!(decision.verdict, Verdict::Allow)
        };
        assert!(
            request(&operation, &facts),
            "the sample statement is allowed"
        );
        group.bench_function(format!("{rules} more rules, remembered"), |b| {
            b.iter(|| request(&operation, &facts));
        });
        // Another database each time, so that no decision is remembered.
        let mut number = 0_u64;
        group.bench_function(format!("{rules} more rules, new"), |b| {
            b.iter(|| {
                number += 1;
                request(
                    &operation,
                    &SessionFacts {
                        source: facts.source,
                        database: number.to_string(),
                    },
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
