//! Where the embedded queue keeps its messages unless it is told: where the platform keeps what programs must not lose.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The state directory, `None` where there is no home to have one in. It need not exist.
pub(crate) fn default() -> Option<PathBuf> {
    of(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // systemd gives a service with `StateDirectory=` its own; several are parted by colons.
    if let Some(given) = variable("STATE_DIRECTORY") {
        return env::split_paths(&given).next();
    }
    if cfg!(target_os = "macos") {
        let home = PathBuf::from(variable("HOME")?);
        return Some(home.join("Library/Application Support/posthaste"));
    }
    // A relative path is to be passed over, says the XDG base directory specification.
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(Path::new(&variable("HOME")?).join(".local/state")))?;
    Some(state.join("posthaste"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn systemds_directory_then_xdgs_then_home() {
        let found = |set: &[(&str, &str)]| {
            let variable = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            of(variable).map(|path| path.display().to_string())
        };
        let home = ("HOME", "/h/a");
        assert_eq!(found(&[home]).as_deref(), Some("/h/a/.local/state/posthaste"));
        assert_eq!(found(&[home, ("XDG_STATE_HOME", "/s")]).as_deref(), Some("/s/posthaste"));
        assert_eq!(found(&[home, ("XDG_STATE_HOME", "s")]).as_deref(), Some("/h/a/.local/state/posthaste"));
        let service = ("STATE_DIRECTORY", "/var/lib/queue:/var/lib/other");
        assert_eq!(found(&[home, service]).as_deref(), Some("/var/lib/queue"));
        assert_eq!(found(&[]), None);
    }
}
