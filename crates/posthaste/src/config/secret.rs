//! Secrets: written in clear, or as `@FILE` or `$NAME`, and shown by nothing.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A secret's file larger than this is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is to be had.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    Clear(String),
    File(PathBuf),
    Environment(String),
}

impl SecretSource {
    /// `@FILE` and `$NAME` name a source, `@@...` and `$$...` are values that begin with `@` or `$`; all else is the value.
    pub(crate) fn parse(text: &str) -> SecretSource {
        if text.starts_with("@@") || text.starts_with("$$") {
            return SecretSource::Clear(text.chars().skip(1).collect());
        }
        if let Some(path) = text.strip_prefix('@') {
            return SecretSource::File(path.into());
        }
        match text.strip_prefix('$') {
            Some(name) => SecretSource::Environment(name.to_owned()),
            None => SecretSource::Clear(text.to_owned()),
        }
    }

    /// The secret itself; one line end after it belongs to its file and is cut.
    ///
    /// # Errors
    /// Why it cannot be had; the text names the file or the variable and never what is in it.
    pub(crate) fn reveal(&self) -> Result<String, String> {
        match self {
            SecretSource::Clear(secret) => Ok(secret.clone()),
            SecretSource::Environment(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => format!("the environment has no variable {name}"),
                std::env::VarError::NotUnicode(_) => format!("the environment variable {name} is not UTF-8"),
            }),
            SecretSource::File(path) => {
                let shown = path.display();
                let mut secret = String::new();
                let file = File::open(path).map_err(|error| format!("cannot open {shown}: {error}"))?;
                let read = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut secret);
                read.map_err(|error| format!("cannot read {shown}: {error}"))?;
                if secret.len() as u64 > SECRET_BYTES_MAX {
                    return Err(format!(
                        "{shown} holds more than {SECRET_BYTES_MAX} bytes, which no secret does"
                    ));
                }
                let line = secret.strip_suffix('\n').unwrap_or(&secret);
                Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
        }
    }

    pub(crate) fn is_clear(&self) -> bool {
        matches!(self, SecretSource::Clear(_))
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Clear(_) => f.write_str("Clear(..)"),
            SecretSource::File(path) => write!(f, "File({path:?})"),
            SecretSource::Environment(name) => write!(f, "Environment({name:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        assert_eq!(SecretSource::parse("@/a/b"), SecretSource::File("/a/b".into()));
        assert_eq!(SecretSource::parse("$TOKEN"), SecretSource::Environment("TOKEN".into()));
        assert_eq!(SecretSource::parse("@@x"), SecretSource::Clear("@x".into()));
        assert_eq!(SecretSource::parse("$$x"), SecretSource::Clear("$x".into()));
        assert_eq!(SecretSource::parse("x@$"), SecretSource::Clear("x@$".into()));
        assert_eq!(format!("{:?}", SecretSource::parse("hush")), "Clear(..)");
    }

    #[test]
    fn a_file_loses_one_line_end_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "hush\n\r\n").expect("the file is writable");
        assert_eq!(SecretSource::File(path.clone()).reveal(), Ok("hush\n".into()));
        std::fs::write(&path, vec![b'a'; 70_000]).expect("the file is writable");
        assert!(SecretSource::File(path).reveal().is_err_and(|reason| reason.contains("65536")));
        let missing = SecretSource::File(folder.path().join("none")).reveal();
        assert!(missing.is_err_and(|reason| reason.contains("none")));
        let variable = SecretSource::Environment("POSTHASTE_NO_SUCH_VARIABLE".into()).reveal();
        assert!(variable.is_err_and(|reason| reason.contains("POSTHASTE_NO_SUCH_VARIABLE")));
    }
}
