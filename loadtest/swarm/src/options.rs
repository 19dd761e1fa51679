//! What to do, from the command line. Nothing else reads arguments.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// Which wire forms the sockets speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// All native.
    Native,
    /// All Socket.IO.
    SocketIo,
    /// Every other one.
    Both,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let rest = text.strip_prefix("http://").with_context(|| format!("{text}: only http:// is spoken"))?;
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').unwrap_or((rest, "80"));
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = port.parse().with_context(|| format!("{text}: the port is no number"))?;
        Ok(Self { host, port })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host:port`, as in the `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Gateways; a socket that is lost tries the next one.
    pub urls: Vec<Address>,
    /// Idle sockets beside those that take part.
    pub sockets: u32,
    /// Users that send.
    pub senders: u32,
    /// Conversations, made anew for each run.
    pub conversations: u32,
    /// Members of each conversation.
    pub members: u32,
    /// Messages in all; None: as many as `seconds` allow.
    pub messages: Option<u64>,
    /// How long to send.
    pub seconds: Option<u64>,
    /// Messages per second in all (open loop); None: flat out.
    pub rate: Option<f64>,
    /// Flat out: unacknowledged messages per sender.
    pub window: usize,
    /// Unacknowledged messages per sender and conversation.
    pub pipeline: usize,
    /// Bytes of a message's content.
    pub bytes: usize,
    /// Wire forms.
    pub form: Forms,
    /// Choice of conversations, jitter, phases.
    pub seed: u64,
    /// Threads of the generator.
    pub threads: usize,
    /// Silence after which a message is sent again.
    pub resend_ms: u64,
    /// No progress for so long ends the wait for deliveries.
    pub settle_s: u64,
    /// How long the final `sync` may take.
    pub sync_s: u64,
    /// How long all sockets may take to open.
    pub connect_s: u64,
    /// The whole run stops after so long.
    pub deadline_s: u64,
    /// Accounts and tokens are kept here between runs.
    pub cache: PathBuf,
    /// Signs tokens instead of logging in.
    pub jwt_secret: Option<String>,
    /// Print JSON.
    pub json: bool,
    /// Hosts other than loopback may be loaded.
    pub allow_remote: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            urls: vec![Address { host: "127.0.0.1".into(), port: 8080 }],
            sockets: 0,
            senders: 10,
            conversations: 10,
            members: 3,
            messages: None,
            seconds: None,
            rate: None,
            window: 64,
            pipeline: 1,
            bytes: 150,
            form: Forms::Both,
            seed: 1,
            threads: 1,
            resend_ms: 5_000,
            settle_s: 10,
            sync_s: 30,
            connect_s: 60,
            deadline_s: 600,
            cache: std::env::temp_dir().join("chatchit-swarm"),
            jwt_secret: None,
            json: false,
            allow_remote: false,
        }
    }
}

/// What `--help` prints.
pub const HELP: &str = "\
swarm: loads a ChatChit cluster, and judges it

  --url URL[,URL...]     gateways [http://127.0.0.1:8080]; loopback only, unless --allow-remote
  --sockets N            idle sockets beside those that take part [0]
  --senders N            users that send [10]
  --conversations N      conversations, new in each run [10]
  --members N            members of each conversation [3]
  --messages N           messages in all [1000, unless --seconds]
  --seconds N            how long to send
  --rate N               messages per second in all, at fixed times (open loop): latency counts
                         from the scheduled time. Without it: flat out
  --window N             flat out: unacknowledged messages per sender [64]
  --pipeline N           unacknowledged messages per sender and conversation [1]
  --bytes N              content of a message [150]
  --form native|socketio|both    [both: every other socket]
  --seed N               [1]        --threads N      of the generator [1]
  --resend-ms N          silence after which a message goes out again [5000]
  --settle N             seconds without progress that end the wait for deliveries [10]
  --sync N               seconds the final sync may take [30]
  --connect N            seconds all sockets may take to open [60]
  --deadline N           seconds after which the whole run stops [600]
  --cache PREFIX         accounts and tokens are kept in PREFIX-<port>-<seed>.json
  --jwt-secret SECRET    sign tokens instead of logging in (or SWARM_JWT_SECRET)
  --json                 print JSON

Exit code: 0 fine; 1 something acknowledged was lost, doubled or reordered, seqs have gaps, or it
could not be verified; 2 the run could not be set up.
";

impl Options {
    /// Reads the arguments; None: help was asked for.
    ///
    /// # Errors
    /// An argument is unknown, malformed or out of range.
    pub fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self { jwt_secret: std::env::var("SWARM_JWT_SECRET").ok(), ..Self::default() };
        while let Some(name) = args.next() {
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--json" => options.json = true,
                "--allow-remote" => options.allow_remote = true,
                _ => {
                    let value = args.next().with_context(|| format!("{name} needs a value (see --help)"))?;
                    options.set(&name, &value).with_context(|| format!("{name} {value}"))?;
                }
            }
        }
        if options.messages.is_none() && options.seconds.is_none() {
            options.messages = Some(1_000);
        }
        options.check()?;
        Ok(Some(options))
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        match name {
            "--url" => self.urls = value.split(',').map(Address::parse).collect::<Result<_, _>>()?,
            "--sockets" => self.sockets = value.parse()?,
            "--senders" => self.senders = value.parse()?,
            "--conversations" => self.conversations = value.parse()?,
            "--members" => self.members = value.parse()?,
            "--messages" => self.messages = Some(value.parse()?),
            "--seconds" => self.seconds = Some(value.parse()?),
            "--rate" => self.rate = Some(value.parse()?),
            "--window" => self.window = value.parse()?,
            "--pipeline" => self.pipeline = value.parse()?,
            "--bytes" => self.bytes = value.parse()?,
            "--seed" => self.seed = value.parse()?,
            "--threads" => self.threads = value.parse()?,
            "--resend-ms" => self.resend_ms = value.parse()?,
            "--settle" => self.settle_s = value.parse()?,
            "--sync" => self.sync_s = value.parse()?,
            "--connect" => self.connect_s = value.parse()?,
            "--deadline" => self.deadline_s = value.parse()?,
            "--cache" => self.cache = value.into(),
            "--jwt-secret" => self.jwt_secret = Some(value.to_owned()),
            "--form" => {
                self.form = match value {
                    "native" => Forms::Native,
                    "socketio" => Forms::SocketIo,
                    "both" => Forms::Both,
                    _ => bail!("not one of native, socketio, both"),
                }
            }
            _ => bail!("no such argument (see --help)"),
        }
        Ok(())
    }

    /// Everything is within its range, and no host is loaded by accident.
    ///
    /// # Errors
    /// Something is not.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(address) = self.urls.iter().find(|address| !self.allow_remote && !address.is_loopback()) {
            bail!("{} is not this machine: --allow-remote, if it is yours to load", address.authority());
        }
        let rate_is_fine = self.rate.is_none_or(|rate| rate > 0.0 && rate <= 1e6);
        if !rate_is_fine || self.urls.is_empty() {
            bail!("--rate is above 0 and at most 1,000,000; --url names a gateway");
        }
        if self.threads == 0 || self.window == 0 || self.pipeline == 0 || self.resend_ms == 0 {
            bail!("--threads, --window, --pipeline and --resend-ms are at least 1");
        }
        let sends = self.senders > 0;
        if sends && (self.conversations == 0 || self.members < 2) {
            bail!("senders need --conversations, and --members of at least 2");
        }
        if self.messages.is_some_and(|messages| messages > u64::from(u32::MAX)) {
            bail!("--messages is at most 4,294,967,295");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let options =
            parse("--url http://127.0.0.1:8081,http://[::1]:8082/ --rate 500 --seconds 5").unwrap().unwrap();
        assert_eq!(options.urls[1].authority(), "[::1]:8082");
        assert_eq!((options.rate, options.seconds, options.messages), (Some(500.0), Some(5), None));
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn nobody_elses_host_is_loaded_by_accident() {
        assert!(parse("--url http://example.org:80").is_err());
        assert!(parse("--url http://example.org:80 --allow-remote").is_ok());
        for bad in ["--rate 0", "--members 1", "--form smoke", "--nope 1", "--rate", "--url ftp://localhost"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
