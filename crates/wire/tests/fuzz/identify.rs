use wire::{AuthResponse, IdentifyRequest, IdentifyResponse};

#[test]
fn fuzz_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

/// JSON that is taken is written so that it reads the same; what is refused says why in one bounded,
/// printable line.
pub(crate) fn check(bytes: &[u8]) {
    let errors = [
        IdentifyRequest::parse(bytes)
            .map(|request| assert_eq!(IdentifyRequest::parse(&request.to_json()).as_ref(), Ok(&request)))
            .err(),
        IdentifyResponse::parse(bytes)
            .map(|response| assert_eq!(IdentifyResponse::parse(&response.to_json()).as_ref(), Ok(&response)))
            .err(),
        AuthResponse::parse(bytes)
            .map(|response| assert_eq!(AuthResponse::parse(&response.to_json()).as_ref(), Ok(&response)))
            .err(),
    ];
    for error in errors.into_iter().flatten() {
        let text = error.to_string();
        assert!(text.len() < 8192 && !text.contains(char::is_control), "{text:?}");
    }
}
