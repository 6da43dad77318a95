use wire::{ChannelName, TopicName, name};

#[test]
fn fuzz_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

/// nsqd's rule, told another way: `^[.a-zA-Z0-9_-]+(#ephemeral)?$` and 1 to 64 bytes.
fn is_name(bytes: &[u8]) -> bool {
    let (stem, tail) = bytes.split_at(bytes.iter().position(|byte| *byte == b'#').unwrap_or(bytes.len()));
    let allowed = b".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    bytes.len() <= 64
        && !stem.is_empty()
        && stem.iter().all(|byte| allowed.contains(byte))
        && (tail.is_empty() || tail == b"#ephemeral")
}

pub(crate) fn check(bytes: &[u8]) {
    let checked = name::check(bytes);
    assert_eq!(checked.is_ok(), is_name(bytes), "{checked:?}");
    match checked {
        Ok(text) => {
            assert_eq!(text.as_bytes(), bytes);
            let topic = TopicName::new(text).expect("just checked");
            assert_eq!(topic.is_ephemeral(), ChannelName::new(text).expect("just checked").is_ephemeral());
            assert_eq!(topic.to_string(), text);
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control));
            if let name::NameError::Character { at, .. } = error {
                assert!(name::check(&bytes[..at]).is_ok() || at == 0 || bytes[at - 1] == b'#');
            }
        }
    }
}
