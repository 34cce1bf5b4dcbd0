//! From a reviewer's answer to a release: the text is analysed again, decided again under the
//! policy in force, and the approval used up, once.

use super::{Gate, core::Purpose, turn, unit::Unit};
use crate::{
    approval::Vote,
    decision::{Denial, Reason, Verdict},
    id::{ApprovalId, UnitId},
    operation::{Operation, SqlUnit},
    record::{ApprovalOutcome, Entry, Severity},
    time::Now,
    wire::{Analysed, Event, Question, Wire, WireError},
};

impl<W: Wire> Gate<W> {
    pub(super) fn approval_ended(
        &mut self,
        now: Now,
        approval: ApprovalId,
        outcome: ApprovalOutcome,
        votes: Vec<Vote>,
    ) -> Result<(), WireError> {
        // An approval that comes after its unit is gone is never used.
        let Some((id, unit)) = self.core.held(approval) else {
            return Ok(());
        };
        unit.stop_waiting();
        let operation = unit.operation().cloned();
        self.core.record(
            now,
            Entry::ApprovalDecided {
                approval,
                unit: id,
                outcome,
                votes: votes.clone(),
            },
        );
        let denial = match outcome {
            ApprovalOutcome::Approved => {
                // What the text means may have changed while it waited.
                let question = match operation {
                    Some(Operation::Sql(sql)) => Question::AnalyseSql { text: sql.text },
                    Some(Operation::Session(_) | Operation::Command(_) | Operation::Api(_))
                    | None => {
                        return self.rechecked(now, id, None);
                    }
                };
                self.core.ask(now, question, Purpose::Recheck(id));
                return Ok(());
            }
            ApprovalOutcome::Rejected => {
                let by = votes
                    .last()
                    .map(|vote| vote.name.as_str())
                    .unwrap_or("a reviewer");
                let comment = votes.last().map(|vote| vote.comment.as_str()).unwrap_or("");
                let denial = Denial::new(Reason::Rejected, format!("{by} denied this request"));
                if comment.is_empty() {
                    denial
                } else {
                    denial.with_detail(comment)
                }
            }
            ApprovalOutcome::Expired => {
                Denial::new(Reason::Expired, "no reviewer approved this request in time")
            }
            ApprovalOutcome::Withdrawn => {
                Denial::new(Reason::Withdrawn, "the request was withdrawn")
            }
        };
        self.refuse_held(now, id, denial)
    }

    /// The approved unit means the same as when it was shown, and the policy in force still
    /// allows it with the holds that were satisfied: use the approval up.
    pub(super) fn rechecked(
        &mut self,
        now: Now,
        id: UnitId,
        analysed: Option<Analysed>,
    ) -> Result<(), WireError> {
        let Some((operation, approval, digest, satisfied)) =
            self.core.units.get(&id).and_then(Unit::approved)
        else {
            return Ok(());
        };
        let fresh = match (&operation, analysed) {
            (Operation::Sql(sql), Some(analysed)) => Operation::Sql(SqlUnit {
                analysis: analysed.analysis,
                ..sql.clone()
            }),
            (Operation::Sql(_), None) => {
                let denial = Denial::new(
                    Reason::NoAnswer,
                    "the approved statement couldn't be analysed again",
                );
                return self.refuse_held(now, id, denial);
            }
            (Operation::Session(_) | Operation::Command(_) | Operation::Api(_), _) => {
                operation.clone()
            }
        };
        if self.core.binding_digest(&fresh) != digest {
            let denial = Denial::new(
                Reason::NotConsumed,
                "what the statement does has changed since it was approved",
            )
            .with_hint("Send it again to ask for a new approval.");
            return self.refuse_held(now, id, denial);
        }
        let Some(decision) = self.core.decide(now, &fresh, &satisfied) else {
            let denial = Denial::new(Reason::PolicyError, "there is no session to decide for");
            return self.refuse_held(now, id, denial);
        };
        let masks = turn::check_masks(&fresh, &decision.obligations);
        let denial = match (decision.verdict, masks) {
            (Verdict::Allow, Ok(())) => {
                if let Some(unit) = self.core.units.get_mut(&id) {
                    unit.decided_again(fresh, decision.obligations, decision.policy);
                }
                let question = Question::ConsumeApproval { approval, digest };
                self.core.ask(now, question, Purpose::Consume(id));
                return Ok(());
            }
            (Verdict::Allow, Err(denial)) | (Verdict::Deny(denial), _) => denial,
            (Verdict::Hold(_), _) => Denial::new(
                Reason::NotConsumed,
                "the policy has changed and asks for another approval",
            )
            .with_hint("Send the statement again."),
        };
        self.refuse_held(now, id, denial)
    }

    pub(super) fn consumed(&mut self, now: Now, id: UnitId, used: bool) -> Result<(), WireError> {
        if !used {
            let denial = Denial::new(Reason::NotConsumed, "the approval couldn't be used");
            return self.refuse_held(now, id, denial);
        }
        let ruled = self.core.allow_held(now, id);
        self.notify(now, Event::Ruled(id, ruled))
    }

    pub(super) fn refuse_held(
        &mut self,
        now: Now,
        id: UnitId,
        denial: Denial,
    ) -> Result<(), WireError> {
        let Some(unit) = self.core.units.remove(&id) else {
            return Ok(());
        };
        self.core.block(
            now,
            id,
            unit.into_operation(),
            denial.clone(),
            Severity::Notice,
        );
        self.notify(now, Event::Ruled(id, Err(denial)))
    }
}
