//! What agents ask over HTTPS, and in which words they are answered.
//!
//! Decides: how much of a request is read, and which status an answer has: 200 for what was asked, 422 for a signed refusal, 503 where nothing
//! could be judged and the agent should try again. Trusts the connection for who the peer is; everything a peer sends is untrusted.

mod connection;

pub use connection::TlsError;
pub(crate) use connection::{Acceptor, ServerCertificate};

use crate::enrolment::Enrolment;
use crate::intake::{Intake, Judged, Peer};
use axum::Router;
use axum::body::{self, Body};
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::bounded::{MAX_BUNDLE, MAX_KEY_FILE};
use weighbridge::cbor::{self, Wire};
use weighbridge::protocol::{MEDIA_TYPE, PATH_ENROL, PATH_HEAD, PATH_RENEW, PATH_REPORT, SignedRefusal};

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) intake: Arc<Intake>,
    pub(crate) enrolment: Arc<Enrolment>,
    pub(crate) request_timeout: Duration,
}

/// The peer of a connection, put into each of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Option<Peer>);

/// The routes.
pub(crate) fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route(PATH_REPORT, post(report))
        .route(PATH_HEAD, get(head))
        .route(PATH_ENROL, post(enrol))
        .route(PATH_RENEW, post(renew))
        .with_state(service)
}

async fn report(
    State(service): State<Arc<Service>>,
    axum::Extension(Caller(peer)): axum::Extension<Caller>,
    body: Body,
) -> Response {
    // A stranger's report is refused anyway, so no megabyte is read for it.
    let limit = if peer.is_some() { MAX_BUNDLE } else { 0 };
    let intake = Arc::clone(&service.intake);
    let judged = match read(body, limit, service.request_timeout).await {
        // In a task of its own, so that a connection that breaks does not leave a report half placed.
        Ok(bundle) => detached(async move { intake.deliver(peer, bundle).await }).await,
        Err(Unread::TooLarge) if peer.is_none() => {
            detached(async move { intake.deliver(None, Vec::new()).await }).await
        }
        Err(Unread::TooLarge) => detached(async move { intake.too_large(peer).await }).await,
        Err(Unread::Broken) => return broken(),
    };
    match judged {
        Ok(Judged::Receipt(receipt)) => answer(&*receipt),
        Ok(Judged::Refused(refusal)) => refused(&refusal),
        Err(error) => busy(&error),
    }
}

/// Answers `GET /v1/head?seen=N`; N is the size of the checkpoint that the node last found consistent.
async fn head(
    State(service): State<Arc<Service>>,
    axum::Extension(Caller(peer)): axum::Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let seen = match query
        .as_deref()
        .map(|q| q.strip_prefix("seen=").map(str::parse::<u64>))
    {
        None => None,
        Some(Some(Ok(size))) => Some(size),
        Some(_) => {
            return (StatusCode::BAD_REQUEST, "the query must be `seen=` and a size\n").into_response();
        }
    };
    reply(service.intake.head(peer, seen).await)
}

async fn enrol(State(service): State<Arc<Service>>, body: Body) -> Response {
    let enrolment = Arc::clone(&service.enrolment);
    match read(body, MAX_KEY_FILE, service.request_timeout).await {
        Ok(bytes) => reply(detached(async move { enrolment.enrol(&bytes).await }).await),
        Err(unread) => unread.into_response(),
    }
}

async fn renew(State(service): State<Arc<Service>>, body: Body) -> Response {
    let enrolment = Arc::clone(&service.enrolment);
    match read(body, MAX_KEY_FILE, service.request_timeout).await {
        Ok(bytes) => reply(detached(async move { enrolment.renew(&bytes).await }).await),
        Err(unread) => unread.into_response(),
    }
}

/// Why a body was not read.
enum Unread {
    TooLarge,
    Broken,
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request is larger than any honest one\n",
            )
                .into_response(),
            Self::Broken => broken(),
        }
    }
}

async fn read(body: Body, limit: usize, timeout: Duration) -> Result<Vec<u8>, Unread> {
    match tokio::time::timeout(timeout, body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(e)) if is_limit(&e) => Err(Unread::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Unread::Broken),
    }
}

/// Whether the body was longer than allowed, rather than cut off.
fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        if e.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = e.source();
    }
    false
}

/// Runs work to its end even if the connection that asked for it breaks. It is put in its place in memory at once: the work on a report is kilobytes, and
/// would be moved with the future of each layer around it.
fn detached<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> impl Future<Output = Result<T, Unanswered<E>>>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let task = tokio::spawn(Box::pin(work));
    async {
        match task.await {
            Ok(done) => done.map_err(Unanswered::Failed),
            Err(e) => Err(Unanswered::Stopped(e)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Unanswered<E: std::error::Error> {
    #[error(transparent)]
    Failed(E),
    #[error("the verifier is stopping")]
    Stopped(#[source] tokio::task::JoinError),
}

fn reply<T: Wire, E: std::error::Error>(judged: Result<Result<T, SignedRefusal>, E>) -> Response {
    match judged {
        Ok(Ok(good)) => answer(&good),
        Ok(Err(refusal)) => refused(&refusal),
        Err(error) => busy(&error),
    }
}

fn answer<T: Wire>(value: &T) -> Response {
    message(StatusCode::OK, cbor::encode(value))
}

fn refused(refusal: &SignedRefusal) -> Response {
    message(StatusCode::UNPROCESSABLE_ENTITY, cbor::encode(refusal))
}

fn message(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// The cause stays in the log; the submitter learns only that it may try again.
fn busy(error: &dyn std::error::Error) -> Response {
    tracing::error!(error = %crate::cause::with_causes(error), "a request could not be judged");
    let mut response = (
        StatusCode::SERVICE_UNAVAILABLE,
        "nothing was recorded; try again later\n",
    )
        .into_response();
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("30"));
    response
}

fn broken() -> Response {
    (StatusCode::BAD_REQUEST, "the request did not arrive whole\n").into_response()
}
