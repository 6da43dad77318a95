//! Takes over what an nsqd has left in a directory: its topics, channels, pauses, and every message on its disk.
//!
//! nsqd keeps a queue of files for each topic (what no channel was given yet) and for each channel. A message that waits
//! in three channels lies there three times, under one id, and is published here once for each of its channels.
//!
//! Order: everything is counted first, and refused whole if it does not fit; it is taken over and synced, and only then
//! are nsqd's files moved aside, into a folder of their own within the directory. A crash in between takes them over a
//! second time: duplicates, never a loss. Nothing of them is deleted.

mod diskqueue;
mod metadata;
mod survey;
mod take_over;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use broker::{FileSystem, Queue};
use rustix::fs::FlockOperation;

use survey::Survey;
pub(crate) use take_over::Imported;

/// Where nsqd's files are put when they have been taken over.
const IMPORTED: &str = "imported-from-nsqd";

/// Takes over what nsqd has left in the data path; `None` where that is nothing. Must be called where local tasks can be
/// spawned, before anything else opens the queue.
///
/// # Errors
/// Whatever is in its way. Nothing of nsqd's was moved then.
pub(crate) async fn run(
    disk: Arc<dyn FileSystem>,
    settings: &broker::Settings,
) -> anyhow::Result<Option<Imported>> {
    let folder = settings.data_path.as_path();
    let files = nsqd_files(folder)?;
    if files.is_empty() {
        return Ok(None);
    }
    let _held = lock(folder)?;
    // Their channels are in nsqd's list: nobody has to be asked for more before the first fan-out.
    let settings = broker::Settings { hold_new_topics: false, ..settings.clone() };
    let topics = take_over::topics(folder, &files)?;
    let survey = Survey::of(folder, &topics)?;
    let (queue, _) = Queue::open(Arc::clone(&disk), &settings)?;
    let driver = tokio::task::spawn_local(queue.clone().run());
    let imported = match survey.check(&settings, &queue.counters(), &*disk) {
        Ok(()) => take_over::take_over(&queue, folder, &topics).await,
        Err(misfit) => Err(misfit),
    };
    let closed = queue.close().await;
    driver.await.context("the queue's driver panicked")?;
    let imported = imported?;
    closed?;
    move_aside(folder, &files)?;
    Ok(Some(imported))
}

/// nsqd holds a lock on its folder while it runs.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let held = File::open(folder)?;
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("an nsqd is still running on {}", folder.display()))?;
    Ok(held)
}

fn move_aside(folder: &Path, files: &[String]) -> anyhow::Result<()> {
    let aside = free_folder(folder)?;
    for file in files {
        let moved = fs::rename(folder.join(file), aside.join(file));
        moved
            .with_context(|| format!("{file} was taken over, and cannot be moved to {}", aside.display()))?;
    }
    File::open(&aside)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// A new folder for them: an earlier one is never mixed with this.
fn free_folder(folder: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let aside = folder.join(match number {
            1 => IMPORTED.to_owned(),
            number => format!("{IMPORTED}-{number}"),
        });
        match fs::create_dir(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| aside),
        }
    }
}

/// What nsqd has left in `folder`, by name; empty where there is nothing, or no such folder.
pub(crate) fn nsqd_files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && is_nsqds(&name)
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_nsqds(name: &str) -> bool {
    name == metadata::FILE || diskqueue::numbered_file(name).is_some() || diskqueue::meta_file(name).is_some()
}

/// `nsqd.dat, a.diskqueue.000000.dat and 3 more`.
pub(crate) fn shown(names: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let first = names[..names.len().min(SHOWN_MAX)].join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
