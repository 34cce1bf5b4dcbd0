//! The one HTTPS client of this module, and bounded reading.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use azure_core::{
    error::ErrorKind,
    http::{AsyncRawResponse, HttpClient, Request},
};
use futures_util::StreamExt as _;

/// Time to reach a server, name resolution included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one whole request, body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTPS client could not be built from the TLS configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot build the HTTPS client")]
pub struct HttpsClientError(#[source] reqwest::Error);

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    #[error("request failed")]
    Transport(#[from] reqwest::Error),
    #[error("server answered with status {0}")]
    Status(u16),
    #[error("answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// An HTTPS client over `tls`: 5 s to connect, 10 s per request, no redirects, no proxy from the
/// environment, https only.
///
/// # Errors
/// [`HttpsClientError`] when the TLS configuration can't be used.
pub fn https_client(tls: rustls::ClientConfig) -> Result<reqwest::Client, HttpsClientError> {
    client(tls).build().map_err(HttpsClientError)
}

/// A client for this machine's identity endpoint, which speaks plain HTTP on a link-local or loopback
/// address: otherwise as [`https_client`].
///
/// # Errors
/// [`HttpsClientError`] when the TLS configuration can't be used.
pub fn metadata_client(tls: rustls::ClientConfig) -> Result<reqwest::Client, HttpsClientError> {
    client(tls)
        .https_only(false)
        .build()
        .map_err(HttpsClientError)
}

fn client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
}

/// Reads a document of at most `bytes_max` bytes; anything but status 200 is an error.
pub(super) async fn get(
    client: &reqwest::Client,
    url: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, GetError> {
    let mut response = client.get(url).send().await?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(GetError::Status(response.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > bytes_max.saturating_sub(document.len()) {
            return Err(GetError::TooLarge(bytes_max));
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}

/// The SDK's transport, which refuses answers of more than `bytes_max` bytes.
#[derive(Debug)]
pub(super) struct BoundedTransport {
    pub(super) inner: Arc<dyn HttpClient>,
    pub(super) bytes_max: usize,
}

// Written out: the trait is declared with `async_trait`, which only expands to this.
impl HttpClient for BoundedTransport {
    fn execute_request<'a, 'r, 'f>(
        &'a self,
        request: &'r Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'f>>
    where
        'a: 'f,
        'r: 'f,
    {
        Box::pin(async move {
            let response = self.inner.execute_request(request).await?;
            let (status, headers, mut body) = response.deconstruct();
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk?;
                if chunk.len() > self.bytes_max.saturating_sub(bytes.len()) {
                    let message = "answer is too large";
                    return Err(azure_core::Error::with_message(
                        ErrorKind::DataConversion,
                        message,
                    ));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(AsyncRawResponse::from_bytes(status, headers, bytes))
        })
    }
}
