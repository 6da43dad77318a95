//! The command line: `run`, `check`, `demo`, and a flag for every key. `broker` has nsqd's flags, which are read elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::keys::{
    BrokerKeys, EndpointKeys, Key, Keys, Otherwise, ProcessKeys, QueueKeys, RouteKeys,
};
use crate::config::kind::Kind;
use crate::config::{Mistakes, Place, with_flags};
use crate::demo;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Deliver messages.
    Run(Flags),
    /// Look at a configuration file and say what is wrong with it.
    Check(PathBuf),
    /// The embedded queue alone, with these arguments.
    Broker(Vec<OsString>),
    /// The main job on this machine.
    Demo(demo::Asked),
    /// Write this and be done: help or version.
    Say(String),
}

/// The flags of `run` as they were typed.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// The configuration file.
    pub(crate) config: Option<PathBuf>,
    /// What was given for each key, in the order of the keys; more than one text where a flag was repeated.
    pub(crate) given: Vec<(&'static Key, Vec<String>)>,
}

/// Flags that `-h` shows; `--help` shows all.
const ESSENTIAL: [&str; 16] = [
    "topic",
    "channel",
    "nsqd_tcp_addresses",
    "lookupd_http_addresses",
    "to",
    "concurrency",
    "max_in_flight",
    "lanes",
    "threads",
    "ca_files",
    "headers",
    "content_type",
    "request_timeout_ms",
    "auth_secret",
    "log_level",
    "summary",
];

const CONFIG: &str = "config";
const FILE: &str = "file";
const BROKER: &str = "broker";
const EVENTS: &str = "events";
const MESSAGES: &str = "messages";
const SUMMARY: &str = "summary";

/// Reads the command line, the program's name first. `None` means that what was meant cannot be told; in any case every
/// mistake that can be seen here is in `mistakes`.
pub(crate) fn read(arguments: Vec<OsString>, mistakes: &mut Mistakes) -> Option<Task> {
    // nsqd's flags have one dash as well as two, which this parser cannot read.
    if arguments.get(1).is_some_and(|command| command == BROKER) {
        return Some(Task::Broker(arguments.into_iter().skip(2).collect()));
    }
    let mut arguments = arguments;
    // Each round takes at least one argument out, so there is an end.
    loop {
        match command().try_get_matches_from(&arguments) {
            Ok(matches) => return Some(task(&matches)),
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    return Some(Task::Say(error.render().to_string()));
                }
                _ if take_out(&error, &mut arguments, mistakes) => {}
                _ => {
                    mistakes.push(
                        &Place::CommandLine,
                        "",
                        first_line(&error),
                        "posthaste --help says what there is",
                    );
                    return None;
                }
            },
        }
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// Notes what `error` is about and takes it out of the arguments, so that the rest can be read, too. False when it is
/// about nothing that can be taken out.
fn take_out(error: &clap::Error, arguments: &mut Vec<OsString>, mistakes: &mut Mistakes) -> bool {
    let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg) else { return false };
    // clap names an argument with its placeholder: `--topic <TEXT>`.
    let name = about.split([' ', '=']).next().unwrap_or(about);
    let written = |argument: &OsString| {
        argument.to_str().is_some_and(|text| text == about || text.split('=').next() == Some(name))
    };
    let Some(at) = arguments.iter().rposition(written) else { return false };
    let way_out = match (error.kind(), error.get(ContextKind::SuggestedArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(nearest))) => {
            format!("did you mean {nearest}?")
        }
        (ErrorKind::UnknownArgument, _) => "posthaste run --help lists every flag".to_owned(),
        _ => String::new(),
    };
    let reason = match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with('-') => "is not a known flag".to_owned(),
        ErrorKind::UnknownArgument => "stands where a flag is expected".to_owned(),
        ErrorKind::InvalidValue => "has no value".to_owned(),
        ErrorKind::ArgumentConflict => "was given more than once".to_owned(),
        _ => first_line(error),
    };
    mistakes.push(&Place::CommandLine, name, reason, way_out);
    let value_follows = arguments[at]
        .to_str()
        .is_some_and(|text| text.starts_with('-') && !text.contains('='))
        && arguments.get(at + 1).and_then(|next| next.to_str()).is_some_and(|next| !next.starts_with('-'));
    arguments.drain(at..=at + usize::from(value_follows));
    true
}

fn task(matches: &ArgMatches) -> Task {
    match matches.subcommand() {
        Some(("run", matches)) => {
            let texts =
                |key: &Key| matches.get_many::<String>(key.name).map(|texts| texts.cloned().collect());
            let given = all_keys().filter_map(|(_, key)| texts(key).map(|texts| (key, texts))).collect();
            Task::Run(Flags { config: matches.get_one(CONFIG).cloned(), given })
        }
        Some(("check", matches)) => {
            Task::Check(matches.get_one(FILE).cloned().expect("clap requires the file"))
        }
        Some(("demo", matches)) => Task::Demo(demo::Asked {
            events: matches.get_one(EVENTS).cloned(),
            messages: *matches.get_one(MESSAGES).expect("it has a default"),
            json: matches.get_one::<String>(SUMMARY).is_some_and(|form| form == "json"),
        }),
        _ => unreachable!("clap requires one of the subcommands"),
    }
}

/// Every key that has a flag, with the heading that it stands under.
fn all_keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    fn table<K: Keys>() -> impl Iterator<Item = (&'static str, &'static Key)> {
        K::KEYS.iter().map(|key| (K::TITLE, key))
    }
    table::<RouteKeys>()
        .chain(table::<EndpointKeys>())
        .chain(table::<QueueKeys>())
        .chain(table::<BrokerKeys>())
        .chain(table::<ProcessKeys>())
}

fn command() -> Command {
    let run = Command::new("run")
        .about("Delivers messages until SIGINT or SIGTERM, then drains; a second signal stops at once")
        .after_help("Every flag is a key of the configuration file, too. Exit codes: 0 done, 1 failed, 64 wrong usage.")
        .arg(
            Arg::new(CONFIG)
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Configuration file, TOML, for many routes; flags of the process still count"),
        )
        .args(all_keys().map(|(title, key)| flag(key).help_heading(title)));
    let file = Arg::new(FILE).value_name("FILE").required(true).value_parser(clap::value_parser!(PathBuf));
    let check = Command::new("check")
        .about("Says every mistake of a configuration file, or in short what it amounts to")
        .arg(file);
    let broker = Command::new(BROKER)
        .about("Serves the embedded queue alone, with nsqd's flags, until SIGINT or SIGTERM");
    Command::new("posthaste")
        .version(env!("CARGO_PKG_VERSION"))
        .about("From a queue to an HTTPS API, over connections that are provably reused")
        .subcommand_required(true)
        .subcommands([demo_command(), run, broker, check])
}

fn demo_command() -> Command {
    Command::new("demo")
        .about("Shows the main job on this machine: embedded queue, HTTPS endpoint, and the proof at the end")
        .arg(
            Arg::new(EVENTS)
                .long(EVENTS)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Your own events, one a line (NDJSON or any text), instead of made-up ones"),
        )
        .arg(
            Arg::new(MESSAGES)
                .long(MESSAGES)
                .value_name("N")
                .default_value("100000")
                .conflicts_with(EVENTS)
                .value_parser(clap::value_parser!(u32).range(1..=i64::from(demo::EVENTS_MAX)))
                .help("How many events to make up"),
        )
        .arg(
            Arg::new(SUMMARY)
                .long(SUMMARY)
                .value_name("WORD")
                .default_value("human")
                .value_parser(["human", "json"])
                .help("The report for reading, or as one JSON object on standard output"),
        )
}

fn flag(key: &'static Key) -> Arg {
    let otherwise = match (key.kind, key.otherwise) {
        (_, Otherwise::Words("none")) => String::new(),
        (_, Otherwise::Words("required")) => " [required]".to_owned(),
        (_, Otherwise::Words(words)) => format!(" [default: {words}]"),
        (Kind::Time { .. }, Otherwise::Value(ms)) => format!(" [default: {}]", shown_ms(ms)),
        (_, Otherwise::Value(value)) => format!(" [default: {}]", value.trim_matches('"')),
    };
    let words = match key.kind {
        Kind::Choice(words) => format!(" ({})", words.join(", ")),
        kind if kind.repeats() => " (repeatable)".to_owned(),
        _ => String::new(),
    };
    let about = key.about.trim().trim_end_matches('.').replace("\n ", " ");
    let help = with_flags(&format!("{about}{words}{otherwise}")).replace('`', "");
    let argument = Arg::new(key.name)
        .long(key.flag.trim_start_matches("--"))
        .value_name(key.kind.placeholder())
        .action(ArgAction::Append)
        .allow_negative_numbers(true)
        .hide_short_help(!ESSENTIAL.contains(&key.name))
        .help(help);
    match key.kind {
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    }
}

/// A default in milliseconds as its flag would take it.
fn shown_ms(ms: &str) -> String {
    match ms.replace('_', "").parse::<u64>() {
        Ok(ms) if ms > 0 && ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        Ok(ms) => format!("{ms}ms"),
        Err(_) => ms.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> (Option<Task>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let task = read(line.split(' ').map(OsString::from).collect(), &mut mistakes);
        let mistakes =
            mistakes.sorted().iter().map(|mistake| mistake.to_string().replace("\n    ", " | ")).collect();
        (task, mistakes)
    }

    #[test]
    fn clap_finds_nothing_to_object_to() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_kept_as_typed_and_repeated_ones_add_up() {
        let (task, mistakes) = read_line(
            "posthaste run --topic a --header X:1 --header Y:2 --danger-skip-verification --idempotency-key=false \
             --output-buffer-timeout -1",
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let Some(Task::Run(flags)) = task else { panic!("not a run: {task:?}") };
        let given: Vec<_> = flags.given.iter().map(|(key, texts)| (key.name, texts.join(" "))).collect();
        let expected = [
            ("topic", "a"),
            ("idempotency_key", "false"),
            ("headers", "X:1 Y:2"),
            ("danger_skip_verification", "true"),
            ("output_buffer_timeout_ms", "-1"),
        ];
        assert_eq!(given, expected.map(|(name, text)| (name, text.to_owned())));
    }

    #[test]
    fn every_unknown_flag_is_told_at_once() {
        let (task, mistakes) =
            read_line("posthaste run --tpic a --to http://b --conc=3 --frobnicate 7 stray --lanes");
        assert!(matches!(task, Some(Task::Run(flags)) if flags.given.len() == 1));
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        assert!(
            mistakes.iter().any(|text| text.contains("--tpic") && text.contains("did you mean --topic?"))
        );
        assert!(mistakes.iter().any(|text| text.contains("--frobnicate: is not a known flag")));
        assert!(mistakes.iter().any(|text| text.contains("stray: stands where a flag is expected")));
        assert!(mistakes.iter().any(|text| text.contains("--lanes: has no value")));
    }

    #[test]
    fn help_is_no_mistake_and_no_command_is_one() {
        let (task, mistakes) = read_line("posthaste run --help");
        assert!(
            matches!(task, Some(Task::Say(text)) if text.contains("--drain-bytes-max"))
                && mistakes.is_empty()
        );
        let (task, mistakes) = read_line("posthaste");
        assert!(task.is_none() && mistakes.len() == 1);
    }
}
