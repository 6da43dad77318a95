//! What the API says, and the two shapes in which nsqd says it.
//!
//! Nearly every path answers *versioned*: with `X-NSQ-Content-Type`, and its errors as `{"message":"CODE"}`. `/ping` answers bare text, also
//! when it fails.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::go;
use crate::queue::{AdminError, Refused};

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NSQ_CONTENT_TYPE: &str = "x-nsq-content-type";
const NSQ_VERSION: HeaderValue = HeaderValue::from_static("nsq; version=1.0");

/// RFC 9110 renamed it; nsqd says it as RFC 7231 did.
const TOO_LARGE: ReasonPhrase = ReasonPhrase::from_static(b"Request Entity Too Large");

/// What an accepted request is answered with, below a 200.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Text(String),
    Json(Vec<u8>),
}

impl Said {
    pub(super) const OK: fn() -> Self = || Self::Text("OK".to_owned());

    /// JSON as Go writes it.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::Json(go::json(value))
    }
}

/// Why a request is not done: a status, and the code that stands for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
}

impl Rejected {
    pub(super) const fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code: Cow::Borrowed(code) }
    }

    pub(super) const fn bad_request(code: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code)
    }

    pub(super) const fn too_large(code: &'static str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code)
    }

    pub(super) const fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
    }
}

/// A publish, or a creation, that the queue did not take. nsqd has one code for all of it, `EXITING`; a full queue and a disk that failed are
/// worth telling apart.
impl From<Refused> for Rejected {
    fn from(refused: Refused) -> Self {
        let unavailable = |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code);
        match refused {
            Refused::Full { .. } => unavailable("QUEUE_FULL"),
            Refused::NotStored(_) => unavailable("NOT_STORED"),
            Refused::Exiting => unavailable("EXITING"),
            Refused::TooLarge { .. } => Self::too_large("MSG_TOO_BIG"),
        }
    }
}

impl From<AdminError> for Rejected {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::TopicNotFound => Self::new(StatusCode::NOT_FOUND, "TOPIC_NOT_FOUND"),
            AdminError::ChannelNotFound => Self::new(StatusCode::NOT_FOUND, "CHANNEL_NOT_FOUND"),
            AdminError::Refused(refused) => refused.into(),
        }
    }
}

/// As nearly every path answers.
pub(super) fn versioned(outcome: Result<Said, Rejected>) -> Answer {
    let mut answer = match outcome {
        Ok(Said::Nothing) => Response::default(),
        Ok(Said::Text(text)) => text_answer(StatusCode::OK, text),
        Ok(Said::Json(json)) => json_answer(StatusCode::OK, json),
        Err(rejected) => {
            #[derive(Serialize)]
            struct Message<'a> {
                message: &'a str,
            }
            json_answer(rejected.status, go::json(&Message { message: &rejected.code }))
        }
    };
    answer.headers_mut().insert(NSQ_CONTENT_TYPE, NSQ_VERSION);
    answer
}

/// As `/ping` answers.
pub(super) fn bare(outcome: Result<Said, Rejected>) -> Answer {
    match outcome {
        Ok(Said::Text(text)) => text_answer(StatusCode::OK, text),
        Err(rejected) => text_answer(rejected.status, rejected.code.into_owned()),
        Ok(other) => versioned(Ok(other)),
    }
}

/// Plain HTTP where TLS is required. The one JSON of nsqd's that Go did not format.
pub(super) fn tls_required(https_port: u16) -> Answer {
    let json = format!(r#"{{"message": "TLS_REQUIRED", "https_port": {https_port}}}"#);
    let mut answer = json_answer(StatusCode::FORBIDDEN, json.into());
    answer.headers_mut().insert(NSQ_CONTENT_TYPE, NSQ_VERSION);
    answer
}

/// 405, or 200 for OPTIONS, with the methods that the path has.
pub(super) fn allow(mut answer: Answer, methods: &str) -> Answer {
    let methods = HeaderValue::from_str(methods).expect("methods are letters and commas");
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

/// To the path as it is written; with the little page that Go sends where a GET asked.
pub(super) fn redirect(target: &str, get: bool) -> Answer {
    let mut answer = match get {
        true => {
            let page = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", go::html_escape(target));
            let mut answer = text_answer(StatusCode::MOVED_PERMANENTLY, page);
            answer.headers_mut().insert(CONTENT_TYPE, HTML);
            answer
        }
        false => {
            let mut answer = Response::default();
            *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            answer
        }
    };
    if let Ok(target) = HeaderValue::from_str(target) {
        answer.headers_mut().insert(LOCATION, target);
    }
    answer
}

/// A text of any status without the version.
pub(super) fn text_answer(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(Bytes::from(text)));
    *answer.status_mut() = status;
    if answer_has_body(&answer) {
        answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    }
    answer
}

/// Go finds out the type of a body by looking at it, so one that is empty has none.
fn answer_has_body(answer: &Answer) -> bool {
    use hyper::body::Body as _;
    !answer.body().is_end_stream()
}

fn json_answer(status: StatusCode, json: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(Bytes::from(json)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        answer.extensions_mut().insert(TOO_LARGE);
    }
    answer
}
