//! `docs/configuration.md`, made from the keys. A test holds the page against this.

use std::fmt::Write;

use crate::config::keys::{
    BrokerKeys, EndpointKeys, Key, Keys, Otherwise, ProcessKeys, QueueKeys, RouteKeys,
};

const HEAD: &str = "\
# Configuration

<!-- Made from the keys in crates/posthaste/src/config/keys. To write it anew after a change there:
     POSTHASTE_WRITE_DOCS=1 cargo test -p posthaste configuration_page -->

`posthaste run` takes one route from its flags, or many from a TOML file: `posthaste run --config posthaste.toml`.
Every key of the file has a flag, and both go through the same checks. `posthaste check posthaste.toml` says every
mistake of a file at once, with line and column, or in short what the file amounts to. Unknown keys are refused.

```toml
# Keys of the process stand at the top.
threads = 2

# Keys of the embedded queue, for routes that name no NSQ.
[broker]
data_path = \"/var/lib/posthaste\"

# Keys that every route takes unless it sets them itself.
[defaults]
lookupd_http_addresses = [\"10.0.0.5:4161\", \"10.0.0.6:4161\"]
concurrency = 100

[[route]]
topic = \"events\"
to = \"https://api.example.com/v2/events\"
headers = { Authorization = \"@/run/secrets/events-authorization\", \"X-Environment\" = \"production\" }

[[route]]
topic = \"invoices\"
channel = \"billing\"
to = \"https://billing.example.com/invoices\"
ca_files = [\"/etc/posthaste/billing-ca.pem\"]
request_timeout_ms = 10_000
```

Flags of the process count above the file; flags of a route are refused beside `--config`, since it would not be clear
which route they mean.

- A **time** is an integer of milliseconds in the file and carries its unit as a flag: `--request-timeout 30s`, with
  `ms`, `s`, `m` or `h`.
- A **boolean** is `true` or `false` in the file; as a flag it is given alone, or as `--idempotency-key=false`.
- A **list** is an array in the file; its flag is given once for each.
- A **secret** is the value itself, or `@FILE` for the content of a file (one line end after it is cut), or `$NAME` for a
  variable of the environment; `@@` and `$$` stand for a first `@` or `$` of the value itself. Secrets are never logged. In
  clear on the command line, where every user of the machine can read them, they work and are warned about.
- **Headers** are a table of secrets by name; as a flag, `--header \"Name: value\"`, or `--header 'Authorization: $NAME'`.
  Refused are names that belong to the connection (Content-Length, Transfer-Encoding, Connection, Keep-Alive, Proxy-*, TE,
  Trailer, Upgrade, Expect, Accept-Encoding), `Host`, which has the key `host`, and those that are sent with every
  message by themselves: X-NSQ-Topic, X-NSQ-Channel, X-NSQ-Node, X-NSQ-Message-ID, X-NSQ-Attempts, X-NSQ-Timestamp, and,
  unless `idempotency_key` is false, Idempotency-Key.
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    table::<ProcessKeys>(&mut page, "Keys at the top of the file.");
    table::<RouteKeys>(&mut page, "Keys of `[[route]]` and `[defaults]`.");
    table::<EndpointKeys>(
        &mut page,
        "Keys of `[[route]]` and `[defaults]`: requests, and the connections they go over.",
    );
    table::<QueueKeys>(
        &mut page,
        "Keys of `[[route]]` and `[defaults]`: connections to nsqd and nsqlookupd.",
    );
    table::<BrokerKeys>(
        &mut page,
        "Keys of `[broker]`. The queue runs when a route names neither nsqds nor nsqlookupds.",
    );
    page
}

fn table<K: Keys>(page: &mut String, about: &str) {
    let title = K::TITLE;
    write!(page, "\n## {title}\n\n{about}\n\n").expect("a string takes everything");
    page.push_str("| key | flag | type | unit | default | |\n|---|---|---|---|---|---|\n");
    for key in K::KEYS {
        page.push_str(&row(key));
    }
}

fn row(key: &Key) -> String {
    let otherwise = match key.otherwise {
        Otherwise::Value(value) => format!("`{value}`"),
        Otherwise::Words(words) => words.to_owned(),
    };
    let about = key.about.trim().replace("\n ", " ");
    let (label, unit) = (key.kind.label(), key.kind.unit());
    format!("| `{}` | `{}` | {label} | {unit} | {otherwise} | {about} |\n", key.name, key.flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::config::mistake::Mistakes;

    #[test]
    fn the_configuration_page_is_the_one_that_the_keys_make() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("POSTHASTE_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).expect("the page is writable");
        }
        let found = std::fs::read_to_string(path).expect("the page is there");
        assert!(
            found == page(),
            "docs/configuration.md is not what the keys make; its head says how to write it anew"
        );
    }

    #[test]
    fn the_example_of_the_page_is_right() {
        let page = page();
        let example =
            page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let mut mistakes = Mistakes::default();
        let raw = file::parse("example.toml", example, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(raw.routes.len(), 2);
    }
}
