//! The options of a run, from the command line. No other file reads arguments.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, ValueEnum};

/// Which wire forms the sockets speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Forms {
    /// All native.
    Native,
    /// All Socket.IO.
    #[value(name = "socketio")]
    SocketIo,
    /// Every other one.
    Both,
}

/// The address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// The port it listens on.
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
#[derive(Clone, Debug, Parser)]
#[command(
    name = "swarm",
    about = "Loads a ChatChit cluster, and judges it",
    after_help = "Exit codes: 0 fine; 1 something acknowledged was lost, doubled or reordered, seqs have gaps, or it\n\
        could not be verified; 2 the run could not be set up; 64 the command line is not understood."
)]
pub struct Options {
    /// Gateways, comma-separated; a socket that is lost tries the next one. Loopback only, unless
    /// --allow-remote
    #[arg(long = "url", value_name = "URL", value_delimiter = ',', value_parser = address, default_value = "http://127.0.0.1:8080")]
    pub urls: Vec<Address>,
    /// Idle sockets beside those that take part
    #[arg(long, default_value_t = 0)]
    pub sockets: u32,
    /// Users that send
    #[arg(long, default_value_t = 10)]
    pub senders: u32,
    /// Conversations, made anew for each run
    #[arg(long, default_value_t = 10)]
    pub conversations: u32,
    /// Members of each conversation
    #[arg(long, default_value_t = 3)]
    pub members: u32,
    /// Messages in all; 1,000 unless --seconds says how long
    #[arg(long)]
    pub messages: Option<u64>,
    /// How long to send, in seconds
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Messages per second in all, at fixed times (open loop): latency counts from the scheduled time.
    /// Without it: flat out
    #[arg(long)]
    pub rate: Option<f64>,
    /// Flat out: unacknowledged messages per sender
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// Unacknowledged messages per sender and conversation
    #[arg(long, default_value_t = 1)]
    pub pipeline: usize,
    /// Bytes of a message's content
    #[arg(long, default_value_t = 150)]
    pub bytes: usize,
    /// Wire forms of the sockets; both: every other one
    #[arg(long, value_enum, default_value_t = Forms::Both)]
    pub form: Forms,
    /// Choice of conversations, jitter, phases
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Milliseconds of silence after which a message is sent again
    #[arg(long, default_value_t = 5_000)]
    pub resend_ms: u64,
    /// Seconds without progress that end the wait for deliveries
    #[arg(long = "settle", value_name = "SECONDS", default_value_t = 10)]
    pub settle_s: u64,
    /// Seconds that the final `sync` may take
    #[arg(long = "sync", value_name = "SECONDS", default_value_t = 30)]
    pub sync_s: u64,
    /// Seconds that all sockets may take to open
    #[arg(long = "connect", value_name = "SECONDS", default_value_t = 60)]
    pub connect_s: u64,
    /// Seconds after which the whole run stops
    #[arg(long = "deadline", value_name = "SECONDS", default_value_t = 600)]
    pub deadline_s: u64,
    /// Accounts and tokens are kept in CACHE-<port>-<seed>.json between runs
    #[arg(long, default_value_os_t = std::env::temp_dir().join("chatchit-swarm"))]
    pub cache: PathBuf,
    /// Sign tokens instead of logging in (or SWARM_JWT_SECRET)
    #[arg(long)]
    pub jwt_secret: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Load hosts other than this machine too
    #[arg(long)]
    pub allow_remote: bool,
}

impl Default for Options {
    fn default() -> Self {
        <Self as Parser>::parse_from(["swarm"])
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|err| format!("{err:#}"))
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// An argument is unknown, malformed or out of range; or the text that `--help` asks for.
    pub fn read(args: impl Iterator<Item = String>) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(std::iter::once("swarm".to_owned()).chain(args))?;
        options.jwt_secret = options.jwt_secret.or_else(|| std::env::var("SWARM_JWT_SECRET").ok());
        if options.messages.is_none() && options.seconds.is_none() {
            options.messages = Some(1_000);
        }
        let refused =
            |err: anyhow::Error| Self::command().error(ErrorKind::ValueValidation, format!("{err:#}"));
        options.check().map_err(refused)?;
        Ok(options)
    }

    /// Checks that every option is in its range, and that no remote host is loaded by accident.
    ///
    /// # Errors
    /// An option is out of range, or a host is not this machine.
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

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let options = parse("--url http://127.0.0.1:8081,http://[::1]:8082/ --rate 500 --seconds 5").unwrap();
        assert_eq!(options.urls[1].authority(), "[::1]:8082");
        assert_eq!((options.rate, options.seconds, options.messages), (Some(500.0), Some(5), None));
        assert_eq!(parse("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
        assert_eq!((options.resend_ms, options.form), (5_000, Forms::Both));
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
