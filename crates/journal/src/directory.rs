//! The journal's directory, made so that a power cut does not take it with everything in it.
//!
//! The name of a directory is durable once the directory that holds it is synced, and that is done before the next one is
//! made in it. So of those that are there already only the last can have a name that is not durable: whoever made it may have been
//! killed before that sync.

use std::io::{
    self,
    ErrorKind::{AlreadyExists, InvalidInput, PermissionDenied, ReadOnlyFilesystem},
};
use std::path::Path;

use crate::file_system::FileSystem;

/// Makes `dir` and what is missing above it, durably.
pub(crate) fn make(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let is_there = |dir: &&Path| dir.as_os_str().is_empty() || fs.is_dir(dir);
    if let Some(above) = dir.ancestors().find(is_there).and_then(above) {
        match fs.sync_dir(above) {
            // Whoever cannot do this there has not made a directory there either.
            Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput) => {}
            done => done?,
        }
    }
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !is_there(dir)).collect();
    for dir in missing.into_iter().rev() {
        match fs.create_dir(dir) {
            Err(error) if error.kind() != AlreadyExists => return Err(error),
            _ => above(dir).map_or(Ok(()), |above| fs.sync_dir(above))?,
        }
    }
    Ok(())
}

/// The directory that holds the name `dir`; of a relative path with one part, the working directory.
fn above(dir: &Path) -> Option<&Path> {
    let above = dir.parent()?;
    Some(if above.as_os_str().is_empty() { Path::new(".") } else { above })
}
