//! Judgements remembered under a key of everything that rules can read.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, Mutex},
};

use gateway_core::{
    decision::Request,
    id::Digest,
    identity::{Groups, PrincipalKind},
    mask::{ClassifiedField, FieldStep},
    operation::{ApiUnit, CommandUnit, Inspection, Object, Operation, SessionOp, SqlUnit},
};

use super::{
    Judgement, classified,
    entities::{command_line, kind, stage},
};

/// Judgements per generation; two generations are kept.
const ENTRIES_MAX: usize = 2048;
/// Operations with more effects, columns and fields than this aren't remembered, so that an entry is small:
/// two generations hold at most a few megabytes.
const PARTS_MAX: usize = 64;

/// A bounded memory of judgements. When the young generation is full it becomes the old one, and
/// what was the old one is forgotten; what is used moves to the young one.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeMap<Digest, Arc<Judgement>>,
    old: BTreeMap<Digest, Arc<Judgement>>,
}

impl Generations {
    fn insert(&mut self, key: Digest, judgement: Arc<Judgement>) {
        if self.young.len() >= ENTRIES_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, judgement);
    }
}

impl Cache {
    /// The remembered judgement, or what `judge` says, which is then remembered.
    pub(crate) fn get_or(
        &self,
        request: &Request<'_>,
        fields: &[ClassifiedField],
        judge: impl FnOnce() -> Judgement,
    ) -> Arc<Judgement> {
        let columns = classified(request.operation).map_or(0, |used| used.columns.len());
        let parts = request.operation.effects().len() + columns + fields.len();
        if !request.approved.is_empty() || parts > PARTS_MAX {
            return Arc::new(judge());
        }
        let key = key(request);
        if let Some(found) = self.get(key) {
            return found;
        }
        let judgement = Arc::new(judge());
        // A poisoned lock means a panic elsewhere; remembering is optional.
        if let Ok(mut generations) = self.0.lock() {
            generations.insert(key, Arc::clone(&judgement));
        }
        judgement
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().map_or(0, |generations| {
            generations.young.len() + generations.old.len()
        })
    }

    fn get(&self, key: Digest) -> Option<Arc<Judgement>> {
        let mut generations = self.0.lock().ok()?;
        if let Some(found) = generations.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = generations.old.remove(&key)?;
        generations.insert(key, Arc::clone(&found));
        Some(found)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache(..)")
    }
}

/// SHA-256 over everything that `Engine::judge` reads of a request but the clock.
///
/// INVARIANT: what `entities` and `words` read of a request is here, length-prefixed. The property
/// test `a_request_that_differs_in_one_fact_has_another_key` varies each of these.
pub(super) fn key(request: &Request<'_>) -> Digest {
    let mut key = Key(Vec::with_capacity(512));
    let principal = request.principal;
    key.put(principal.tenant.as_uuid().as_bytes());
    key.put(principal.object.as_uuid().as_bytes());
    key.put(principal.app.as_uuid().as_bytes());
    key.tag(match principal.kind {
        PrincipalKind::Application => 0,
        PrincipalKind::User => 1,
    });
    key.list(&principal.roles, |key, role| key.text(role));
    match &principal.groups {
        Groups::Known(groups) => {
            key.tag(0);
            key.list(groups, |key, group| key.put(group.as_uuid().as_bytes()));
        }
        Groups::Overage => key.tag(1),
    }
    key.text(request.target.name.as_str());
    key.text(&request.target.environment);
    key.text(&request.facts.source.to_string());
    key.text(&request.facts.database);
    match request.operation {
        Operation::Session(SessionOp::Open { database }) => {
            key.tag(0);
            key.list(database.as_slice(), |key, database| key.text(database));
        }
        Operation::Session(SessionOp::Cancel) => key.tag(1),
        Operation::Sql(unit) => {
            key.tag(2);
            key.sql(unit);
        }
        Operation::Command(unit) => {
            key.tag(3);
            key.command(unit);
        }
        Operation::Api(unit) => {
            key.tag(4);
            key.api(unit);
        }
    }
    match request.operation.inspection() {
        Inspection::Full => key.tag(0),
        Inspection::Opaque { reason } => {
            key.tag(1);
            key.text(reason);
        }
    }
    key.list(request.operation.effects(), |key, effect| {
        key.text(effect.action.as_str());
        key.object(&effect.object);
    });
    Digest::of(&key.0)
}

struct Key(Vec<u8>);

impl Key {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.len().to_be_bytes());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.0.extend(items.len().to_be_bytes());
        for item in items {
            put(self, item);
        }
    }

    fn sql(&mut self, unit: &SqlUnit) {
        self.text(stage(unit.stage));
        self.tag(unit.in_transaction.into());
        let facts = &unit.analysis.facts;
        self.put(&facts.statement_count.to_be_bytes());
        self.put(&[
            facts.has_where.into(),
            facts.where_is_constant.into(),
            facts.read_only.into(),
        ]);
        self.list(facts.limit.as_slice(), |key, limit| {
            key.put(&limit.to_be_bytes());
        });
        self.list(&unit.analysis.classified.columns, |key, column| {
            key.put(&column.id.relation.0.to_be_bytes());
            key.put(&column.id.number.to_be_bytes());
            key.list(&column.name, |key, name| key.text(name));
            key.text(column.class.as_str());
        });
    }

    fn command(&mut self, unit: &CommandUnit) {
        self.text(kind(unit.kind));
        self.text(command_line(unit));
        let facts = &unit.facts;
        self.list(facts.argv.as_slice(), |key, argv| {
            key.list(argv, |key, word| key.text(word));
        });
        self.list(facts.program.as_slice(), |key, program| key.text(program));
        self.tag(facts.pty.into());
    }

    fn api(&mut self, unit: &ApiUnit) {
        self.text(unit.verb);
        self.list(unit.resource.as_slice(), |key, resource| {
            // What `Field` entities show of the call.
            key.text(&resource.group);
            key.text(&resource.resource);
            key.text(&resource.namespace);
            key.text(&resource.name);
        });
        let facts = &unit.facts;
        self.text(&facts.method);
        self.put(&[facts.dry_run.into(), facts.privileged.into()]);
        self.list(&facts.command, |key, word| key.text(word));
        self.list(&unit.classified, |key, field| {
            key.text(&field.group);
            key.text(&field.resource);
            key.list(&field.path, |key, step| match step {
                FieldStep::Key(name) => {
                    key.tag(0);
                    key.text(name);
                }
                FieldStep::Each => key.tag(1),
            });
            key.text(field.class.as_str());
        });
    }

    fn object(&mut self, object: &Object) {
        match object {
            Object::Target => self.tag(0),
            Object::Database => self.tag(1),
            Object::Schema { schema } => {
                self.tag(2);
                self.text(schema);
            }
            Object::Relation { schema, name } => {
                self.tag(3);
                self.text(schema);
                self.text(name);
            }
            Object::Function { schema, name } => {
                self.tag(4);
                self.text(schema);
                self.text(name);
            }
            Object::Setting { name } => {
                self.tag(5);
                self.text(name);
            }
            Object::Path { path } => {
                self.tag(6);
                self.text(path);
            }
            Object::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            } => {
                self.tag(7);
                self.list(
                    &[group, resource, subresource, namespace, name],
                    |key, part| key.text(part),
                );
            }
            Object::ApiPath { path } => {
                self.tag(8);
                self.text(path);
            }
        }
    }
}
