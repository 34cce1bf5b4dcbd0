//! What the issuer knows: its directory, and what changes while it runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    BoxError,
    config::{App, Directory, Resource, Tenant},
    keys::{Signature, SigningKey},
    tokens::{Common, set},
};

/// Device codes that wait at the same time.
const DEVICE_CODES_MAX: usize = 1024;

pub(crate) struct Issuer {
    pub(crate) authority: String,
    pub(crate) directory: Directory,
    live: Mutex<Live>,
}

/// Everything that changes.
pub(crate) struct Live {
    /// The newest key signs; all are published. Never empty.
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) device_codes: BTreeMap<String, DeviceCode>,
    pub(crate) fault: Fault,
    pub(crate) requests: Requests,
}

/// How often each endpoint was asked.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Requests {
    pub(crate) discovery: u64,
    pub(crate) keys: u64,
    pub(crate) token: u64,
}

/// What discovery and keys do wrong, for tests of the gateway.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    #[default]
    None,
    /// Status 500.
    Down,
    /// The discovery document names another issuer.
    OtherIssuer,
    /// The discovery document points to another host.
    KeysElsewhere,
    /// The key document has a mebibyte too much.
    HugeKeys,
}

#[derive(Clone)]
pub(crate) struct DeviceCode {
    pub(crate) tenant: Uuid,
    pub(crate) client_id: Uuid,
    pub(crate) scope: String,
    pub(crate) user_code: String,
    pub(crate) expires_s: u64,
    pub(crate) state: DeviceState,
}

#[derive(Clone)]
pub(crate) enum DeviceState {
    Pending,
    Declined,
    /// By the person with this user name.
    Approved(String),
}

impl Issuer {
    pub(crate) fn new(authority: String, directory: Directory) -> Result<Self, BoxError> {
        let live = Live {
            keys: vec![SigningKey::generate()?],
            device_codes: BTreeMap::new(),
            fault: Fault::None,
            requests: Requests::default(),
        };
        Ok(Self {
            authority,
            directory,
            live: Mutex::new(live),
        })
    }

    /// Runs `act` on the changing part. A panic of an earlier holder leaves nothing half done.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Live) -> T) -> T {
        act(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn common<'a>(
        &'a self,
        tenant: &'a Tenant,
        resource: &'a Resource,
        app: &'a App,
    ) -> Common<'a> {
        Common {
            authority: &self.authority,
            tenant,
            resource,
            app,
            now_s: now_s(),
            lifetime_s: self.directory.token_lifetime_s,
        }
    }

    /// Signs with the newest key. `header` overrides members of the usual header; null removes.
    pub(crate) fn sign(
        &self,
        header: &Value,
        claims: &Value,
        how: Signature,
    ) -> Result<String, BoxError> {
        self.with(|live| {
            let key = live.keys.last().ok_or("no signing key")?;
            let mut full = json!({ "typ": "JWT", "alg": "RS256", "kid": key.kid });
            for (name, value) in header.as_object().into_iter().flatten() {
                set(&mut full, name, value.clone());
            }
            key.token(&full, claims, how)
        })
    }
}

impl Live {
    /// False when too many wait already; expired ones are forgotten first.
    pub(crate) fn add_device_code(&mut self, code: String, device: DeviceCode, now_s: u64) -> bool {
        self.device_codes
            .retain(|_, waiting| waiting.expires_s > now_s);
        let room = self.device_codes.len() < DEVICE_CODES_MAX;
        if room {
            self.device_codes.insert(code, device);
        }
        room
    }

    /// The state of a device code. An answered one is forgotten: it is redeemed once.
    pub(crate) fn redeem_device_code(&mut self, code: &str) -> Option<DeviceCode> {
        let device = self.device_codes.get(code)?.clone();
        if !matches!(device.state, DeviceState::Pending) {
            self.device_codes.remove(code);
        }
        Some(device)
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
