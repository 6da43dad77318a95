//! The JSON that answers AUTH.

use serde::{Deserialize, Serialize};

use crate::identify::{JsonError, parse_object};

/// Whom nsqd takes the client for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthResponse {
    /// The name that the auth server gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where more about it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_url: Option<String>,
    /// How many rules the auth server gave for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_count: Option<i64>,
}

impl AuthResponse {
    /// Reads the payload of the response to AUTH.
    ///
    /// # Errors
    /// When it is not a JSON object with these fields in it.
    pub fn parse(payload: &[u8]) -> Result<Self, JsonError> {
        parse_object(payload)
    }

    /// The payload for [`write_response`](crate::frame::write_response).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back() {
        let json = br#"{"identity":"joe","identity_url":"https://example.com/joe","permission_count":1}"#;
        let response = AuthResponse::parse(json).expect("as nsqd writes it");
        assert_eq!((response.identity.as_deref(), response.permission_count), (Some("joe"), Some(1)));
        assert_eq!(response.to_json(), json);
        assert_eq!(AuthResponse::parse(b"{}").expect("empty"), AuthResponse::default());
        assert!(AuthResponse::parse(b"OK").is_err());
    }
}
