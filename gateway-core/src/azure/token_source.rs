//! Tokens for the gateway itself, and for agents that bring a client id and a secret.

use std::{error::Error as StdError, fmt, path::PathBuf, sync::Arc, time::Duration};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::{Secret, TokenCredential},
    error::ErrorKind,
    http::{
        ClientOptions, ExponentialRetryOptions, HttpClient, RetryOptions, StatusCode, Transport,
    },
    time::Duration as RetryDuration,
};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::http::BoundedTransport;
use crate::{
    id::{AppId, TenantId},
    identity::TokenRules,
    time::Wall,
};

/// Time for one token, retries included.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Retries after the first attempt, for statuses 408, 429, 500, 502, 503 and 504 only.
const RETRIES_MAX: u32 = 2;
/// The largest answer accepted. A token with its frame stays below 20 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How a token source proves itself. Always named by the configuration, never guessed.
#[derive(Debug)]
pub enum CredentialKind {
    /// A client secret.
    ClientSecret(SecretString),
    /// A federated token that the platform writes to a file (Entra Workload ID on Kubernetes).
    WorkloadIdentity {
        /// The file; read again every 10 minutes.
        token_file: PathBuf,
    },
}

/// Gets access tokens from Entra by one credential, and keeps them until shortly before expiry.
#[derive(Clone)]
pub struct TokenSource {
    credential: Arc<dyn TokenCredential>,
    classify: fn(&azure_core::Error) -> TokenSourceError,
}

/// An access token and its end.
#[derive(Debug)]
pub struct AccessToken {
    /// The token itself.
    pub secret: SecretString,
    /// When the issuer says it expires.
    pub expires_at: Wall,
}

/// Why there is no token. Never holds a secret, an assertion or a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenSourceError {
    /// The credential can't be built: its token file can't be read, or a value is empty.
    #[error("credential configuration is invalid")]
    Configuration(#[source] azure_core::Error),
    /// Entra refused the credential or the scope: trying again will not help.
    #[error("token endpoint refused the request with status {status}, codes {codes}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The numbers of `AADSTS` errors, separated by commas; empty when there are none.
        codes: String,
    },
    /// The token endpoint can't be reached, or answers with a server error or nonsense.
    #[error("token endpoint is not available: {reason}")]
    Unavailable {
        /// The connection's errors, outermost first, or the status.
        reason: String,
    },
    /// The developers' tools give no token.
    #[error("nobody is signed in to the Azure CLI or the Azure Developer CLI: {reason}")]
    NotSignedIn {
        /// What they say.
        reason: String,
    },
    /// No token within 15 s.
    #[error("token endpoint did not answer in time")]
    Timeout,
}

impl TokenSource {
    /// A source of tokens for `client` of `tenant` at the authority of `rules`. `http` as for
    /// [`JwksCache::new`](super::JwksCache::new).
    ///
    /// # Errors
    /// [`TokenSourceError::Configuration`].
    pub fn new(
        http: reqwest::Client,
        rules: &TokenRules,
        tenant: TenantId,
        client: AppId,
        kind: CredentialKind,
    ) -> Result<Self, TokenSourceError> {
        Self::over(Arc::new(http), rules, tenant, client, kind)
    }

    fn over(
        http: Arc<dyn HttpClient>,
        rules: &TokenRules,
        tenant: TenantId,
        client: AppId,
        kind: CredentialKind,
    ) -> Result<Self, TokenSourceError> {
        let http = Arc::new(BoundedTransport {
            inner: http,
            bytes_max: ANSWER_BYTES_MAX,
        });
        let client_options = client_options(http, rules.authority());
        let (tenant, client) = (tenant.to_string(), client.to_string());
        let credential: Arc<dyn TokenCredential> = match kind {
            CredentialKind::ClientSecret(secret) => ClientSecretCredential::new(
                &tenant,
                client,
                Secret::new(secret.expose_secret().to_owned()),
                Some(ClientSecretCredentialOptions { client_options }),
            )
            .map_err(TokenSourceError::Configuration)?,
            CredentialKind::WorkloadIdentity { token_file } => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: Some(client),
                    tenant_id: Some(tenant),
                    token_file_path: Some(token_file),
                };
                WorkloadIdentityCredential::new(Some(options))
                    .map_err(TokenSourceError::Configuration)?
            }
        };
        Ok(Self {
            credential,
            classify,
        })
    }

    /// A source of tokens for this machine's managed identity: the one with the client id `client`,
    /// or the machine's own. `http` should come from [`metadata_client`](super::metadata_client).
    ///
    /// Where the identity endpoint is, the platform says in the environment: App Service's
    /// (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`), else a virtual machine's at its well-known address
    /// (Azure documentation, "How to use managed identities for Azure resources on an Azure VM to
    /// acquire an access token").
    ///
    /// # Errors
    /// [`TokenSourceError::Configuration`] on platforms with another kind of endpoint.
    pub fn managed_identity(
        http: reqwest::Client,
        client: Option<AppId>,
    ) -> Result<Self, TokenSourceError> {
        let http = Arc::new(BoundedTransport {
            inner: Arc::new(http),
            bytes_max: ANSWER_BYTES_MAX,
        });
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client.map(|id| UserAssignedId::ClientId(id.to_string())),
            client_options: ClientOptions {
                transport: Some(Transport::new(http)),
                retry: retries(),
                ..ClientOptions::default()
            },
        };
        let credential = ManagedIdentityCredential::new(Some(options))
            .map_err(TokenSourceError::Configuration)?;
        Ok(Self {
            credential,
            classify,
        })
    }

    /// A source of tokens for the person who is signed in to the Azure CLI (`az`) or the Azure
    /// Developer CLI (`azd`) on this machine. Runs them.
    ///
    /// # Errors
    /// [`TokenSourceError::Configuration`].
    pub fn developer() -> Result<Self, TokenSourceError> {
        let credential =
            DeveloperToolsCredential::new(None).map_err(TokenSourceError::Configuration)?;
        Ok(Self {
            credential,
            classify: |error| TokenSourceError::NotSignedIn {
                reason: error.to_string(),
            },
        })
    }

    /// A token for `scope`, such as `api://gateway/.default`. Bounded by 15 s and two retries.
    ///
    /// # Errors
    /// [`TokenSourceError`].
    pub async fn token(&self, scope: &str) -> Result<AccessToken, TokenSourceError> {
        let scopes = [scope];
        let token = tokio::time::timeout(TOKEN_TIMEOUT, self.credential.get_token(&scopes, None))
            .await
            .map_err(|_| TokenSourceError::Timeout)?
            .map_err(|error| (self.classify)(&error))?;
        let expires_s = u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0);
        Ok(AccessToken {
            secret: SecretString::from(token.token.secret().to_owned()),
            expires_at: Wall::from_secs(expires_s),
        })
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

fn client_options(http: Arc<dyn HttpClient>, authority: &str) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    authority.clone_into(&mut cloud.authority_host);
    ClientOptions {
        transport: Some(Transport::new(http)),
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        retry: retries(),
        ..ClientOptions::default()
    }
}

fn retries() -> RetryOptions {
    RetryOptions::exponential(ExponentialRetryOptions {
        initial_delay: RetryDuration::milliseconds(200),
        max_retries: RETRIES_MAX,
        max_total_elapsed: RetryDuration::seconds(10),
        max_delay: RetryDuration::seconds(2),
    })
}

/// The credentials wrap the answer in errors of their own: what happened is somewhere below.
fn classify(error: &azure_core::Error) -> TokenSourceError {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = next {
        match current.downcast_ref().map(azure_core::Error::kind) {
            Some(ErrorKind::HttpResponse {
                status, error_code, ..
            }) => {
                return of_status(*status, error_code.as_deref());
            }
            Some(ErrorKind::Connection | ErrorKind::Io) => {
                return TokenSourceError::Unavailable {
                    reason: chain(current),
                };
            }
            // Answers that can't be read are not quoted: they may hold a token.
            Some(_) | None => next = current.source(),
        }
    }
    TokenSourceError::Unavailable {
        reason: "unexpected answer".to_owned(),
    }
}

fn of_status(status: StatusCode, codes: Option<&str>) -> TokenSourceError {
    let may_pass = status == StatusCode::TooManyRequests
        || status == StatusCode::RequestTimeout
        || !status.is_client_error();
    let status: u16 = status.into();
    if may_pass {
        return TokenSourceError::Unavailable {
            reason: format!("status {status}"),
        };
    }
    let codes = codes.unwrap_or_default().to_owned();
    TokenSourceError::Refused { status, codes }
}

/// All messages of a connection's error, such as a certificate that isn't trusted.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let messages = std::iter::successors(Some(error), |&error| error.source());
    let messages: Vec<String> = messages.map(ToString::to_string).collect();
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, sync::Mutex};

    use azure_core::http::{AsyncRawResponse, Body, Method, Request, headers::Headers};

    use super::*;
    use crate::identity::testing::{AUDIENCE, AUTHORITY, TENANT};

    const CLIENT: &str = "bbbbbbbb-0000-4000-8000-000000000001";

    /// Records what is sent and answers with the next of its answers, the last one for ever.
    #[derive(Debug)]
    struct Recorder {
        answers: Vec<(StatusCode, &'static str)>,
        seen: Mutex<Vec<(Method, String, String)>>,
    }

    impl Recorder {
        fn answering(answers: &[(StatusCode, &'static str)]) -> Arc<Self> {
            Arc::new(Self {
                answers: answers.to_vec(),
                seen: Mutex::default(),
            })
        }
    }

    impl HttpClient for Recorder {
        fn execute_request<'a, 'r, 'f>(
            &'a self,
            request: &'r Request,
        ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'f>>
        where
            'a: 'f,
            'r: 'f,
        {
            let Body::Bytes(body) = request.body() else {
                panic!("token requests are small")
            };
            let body = String::from_utf8(body.to_vec()).unwrap();
            let mut seen = self.seen.lock().unwrap();
            let (status, text) = self.answers[seen.len().min(self.answers.len() - 1)];
            seen.push((request.method(), request.url().to_string(), body));
            let answer = AsyncRawResponse::from_bytes(status, Headers::new(), text);
            Box::pin(async { Ok(answer) })
        }
    }

    const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"the-token"}"#;
    const WRONG_SECRET: &str = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}"#;

    fn source(http: &Arc<Recorder>, kind: CredentialKind) -> TokenSource {
        let tenant = TenantId::parse(TENANT).unwrap();
        let rules = TokenRules::new(AUTHORITY, [tenant], [AUDIENCE.to_owned()]).unwrap();
        let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
        TokenSource::over(http, &rules, tenant, AppId::parse(CLIENT).unwrap(), kind).unwrap()
    }

    fn client_secret() -> CredentialKind {
        CredentialKind::ClientSecret(SecretString::from("s&cret =1"))
    }

    #[tokio::test]
    async fn client_secret_posts_the_client_credentials_form_once() {
        let http = Recorder::answering(&[(StatusCode::Ok, TOKEN)]);
        let source = source(&http, client_secret());
        for _ in 0..3 {
            let token = source.token("api://gateway/.default").await.unwrap();
            assert_eq!(token.secret.expose_secret(), "the-token");
            assert!(token.expires_at > Wall::from_secs(1_700_000_000));
            assert!(!format!("{token:?} {source:?}").contains("the-token"));
        }
        let form = format!(
            "client_id={CLIENT}&client_secret=s%26cret+%3D1&grant_type=client_credentials&scope=api%3A%2F%2Fgateway%2F.default"
        );
        let url = format!("{AUTHORITY}/{TENANT}/oauth2/v2.0/token");
        assert_eq!(*http.seen.lock().unwrap(), [(Method::Post, url, form)]);
    }

    #[tokio::test]
    async fn workload_identity_posts_the_file_as_client_assertion() {
        let token_file = std::env::temp_dir().join(format!("federated-{}", std::process::id()));
        std::fs::write(&token_file, "header.claims.signature").unwrap();
        let http = Recorder::answering(&[(StatusCode::Ok, TOKEN)]);
        let kind = CredentialKind::WorkloadIdentity {
            token_file: token_file.clone(),
        };
        let token = source(&http, kind).token("api://gateway/.default").await;
        std::fs::remove_file(&token_file).unwrap();
        assert_eq!(token.unwrap().secret.expose_secret(), "the-token");
        let (method, url, form) = http.seen.lock().unwrap().remove(0);
        assert_eq!(method, Method::Post);
        assert_eq!(url, format!("{AUTHORITY}/{TENANT}/oauth2/v2.0/token"));
        let mut fields: Vec<&str> = form.split('&').collect();
        fields.sort_unstable();
        let client = format!("client_id={CLIENT}");
        let expected = [
            "client_assertion=header.claims.signature",
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
            client.as_str(),
            "grant_type=client_credentials",
            "scope=api%3A%2F%2Fgateway%2F.default",
        ];
        assert_eq!(fields, expected);
    }

    #[tokio::test]
    async fn a_missing_token_file_is_a_configuration_error() {
        let http = Recorder::answering(&[(StatusCode::Ok, TOKEN)]);
        let tenant = TenantId::parse(TENANT).unwrap();
        let rules = TokenRules::new(AUTHORITY, [tenant], [AUDIENCE.to_owned()]).unwrap();
        let kind = CredentialKind::WorkloadIdentity {
            token_file: "/nonexistent/token".into(),
        };
        let source = TokenSource::over(http, &rules, tenant, AppId::parse(CLIENT).unwrap(), kind);
        assert!(matches!(source, Err(TokenSourceError::Configuration(_))));
    }

    #[tokio::test]
    async fn a_wrong_secret_is_refused_at_once_and_without_the_secret() {
        let http = Recorder::answering(&[(StatusCode::Unauthorized, WRONG_SECRET)]);
        let error = source(&http, client_secret())
            .token("api://gateway/.default")
            .await
            .unwrap_err();
        let TokenSourceError::Refused { status: 401, codes } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(codes, "7000215");
        assert_eq!(http.seen.lock().unwrap().len(), 1);
        assert!(!format!("{error:?} {error}").contains("s&cret"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_retried_twice() {
        let down = (StatusCode::ServiceUnavailable, "{}");
        let http = Recorder::answering(&[down, down, (StatusCode::Ok, TOKEN)]);
        assert!(
            source(&http, client_secret())
                .token("api://gateway/.default")
                .await
                .is_ok()
        );

        let http = Recorder::answering(&[down]);
        let error = source(&http, client_secret())
            .token("api://gateway/.default")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "token endpoint is not available: status 503"
        );
        assert_eq!(http.seen.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn nonsense_is_not_quoted_and_too_much_is_not_read() {
        let huge: &'static str = Box::leak(format!("\"{}\"", "x".repeat(65_536)).into_boxed_str());
        for nonsense in [r#"{"access_token":{"s3cr3t":1}}"#, "s3cr3t", huge] {
            let http = Recorder::answering(&[(StatusCode::Ok, nonsense)]);
            let error = source(&http, client_secret())
                .token("api://gateway/.default")
                .await;
            let error = error.unwrap_err();
            assert_eq!(
                format!("{error}"),
                "token endpoint is not available: unexpected answer"
            );
            assert!(!format!("{error:?}").contains("s3cr3t"));
        }
    }
}
