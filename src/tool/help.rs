//! The help of the operator's commands: one table, from which the parser knows the options too.

use std::fmt::Write as _;

/// What the process ends with.
pub const EXITS: &str = "\
Exit codes: 0 good; 1 nothing there, nobody answered, or only a part of it; 2 failed; 64 not
understood, or the environment lacks something.";

/// Who may do this.
const WHO: &str = "\
The operator's commands read the same environment as the programs (AMQP_URL, REDIS_NODES,
DATABASE_URL, CHATCHIT_PREFIX, ...; README.md) and connect only to what they need. There is no
other login: whoever has the secrets of the broker and the database is the operator.";

/// One command.
pub struct Page {
    /// The first word.
    pub name: &'static str,
    /// What follows it, a form per entry.
    forms: &'static [&'static str],
    /// Options without a value.
    flags: &'static [&'static str],
    /// Options with one.
    values: &'static [&'static str],
    /// In one line.
    line: &'static str,
    /// What it connects to.
    needs: &'static str,
    /// The rest.
    more: &'static str,
}

/// All of them.
pub const PAGES: &[Page] = &[
    Page {
        name: "nodes",
        forms: &["[--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--wait"],
        line: "who is there: every program, and how it is",
        needs: "AMQP_URL, REDIS_NODES",
        more: "\
Asks all programs at once over the bus and waits one second (or --wait). LAG is how late a timer
of 5 ms came when the program was asked. The nodes with a lease in the directory are those that
should have answered; who did not is named, and the exit code is 1. Without the directory the
answers are shown all the same.",
    },
    Page {
        name: "lanes",
        forms: &["[--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--wait"],
        line: "what waits: every lane and shard, the retry ladder, the quarantine",
        needs: "AMQP_URL",
        more: "\
WAITING (not given to anybody yet) and CONSUMERS come from the broker, by passive declares: the
management plugin is not needed. They count batches, of one event or more. UNACKED and OLDEST (since
the gateway accepted the event) come from the workers, who are asked over the bus. '?' is: not
known. That is so when a worker did not answer, and for the age of what waits while no worker holds
anything of its shard: to read it, it would have to be taken.",
    },
    Page {
        name: "quarantine",
        forms: &["ls [--bodies] [--json]", "show N [--bodies] [--json]", "replay N|all [--json]"],
        flags: &["--json", "--bodies"],
        values: &[],
        line: "what was set aside: look at it, put it back on its lane",
        needs: "AMQP_URL",
        more: "\
N is the place that `ls` shows. Names and ids are shown, contents are not, unless --bodies says so:
then also the words of a panic, which may quote them. `replay` publishes the envelope as it is, with
the same guid, at the end of its lane, and takes it out of the quarantine only when the broker has
confirmed. What was broken off in between is in both places, and the guid makes that harmless.
After `replay N` the places behind N move up. What fails again comes back.",
    },
    Page {
        name: "tail",
        forms: &["PATTERN [--for SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--for"],
        line: "look on: envelopes as they are published, names and ids only",
        needs: "AMQP_URL",
        more: "\
PATTERN is a subject with * for one word and > for the rest: 'control.*', '>'. What can be seen is
what passes the topic exchange: control.gateways (logins that end), control.workers (their beats),
control.programs (an operator's questions), control.answers.<asker>. What goes straight to its one
queue cannot be seen without taking it away, and is refused: the lanes (high.*, medium.*, low.*),
deliver.<node>, and requests (api.*). One JSON object per line with --json. Ends with Ctrl-C, or
after --for.",
    },
    Page {
        name: "sessions",
        forms: &["USER [--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--wait"],
        line: "the open sockets of a user, on all gateways",
        needs: "AMQP_URL, REDIS_NODES; DATABASE_URL when USER is an e-mail",
        more: "\
USER is an id or an e-mail. The gateways are asked; those that the directory names for the user
should have answered. ADDRESS is unknown: a gateway keeps no address for an open socket. Exit code 1
when there is no socket, or a gateway was silent.",
    },
    Page {
        name: "kick",
        forms: &["USER [--login ID] [--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--login", "--wait"],
        line: "close the sockets of a user everywhere, and end a login",
        needs: "AMQP_URL, REDIS_NODES; DATABASE_URL when USER is an e-mail or with --login",
        more: "\
All sockets of the user are closed with 1001: clients come back at once. With --login that login is
ended first, as by a logout: in the database, in the directory, and at every gateway; its sockets
are closed with 4503, and its tokens are refused. `chatchit user show` lists the logins.",
    },
    Page {
        name: "drain",
        forms: &["NODE [--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--wait"],
        line: "tell a gateway (or a worker) to leave, as SIGTERM does",
        needs: "AMQP_URL",
        more: "\
NODE is an id that `chatchit nodes` shows. Returns when the node has said that it drains; it ends
later, by its own deadlines, and whoever started it may start it again. Asking again is not a second
signal: nothing is aborted.",
    },
    Page {
        name: "trace",
        forms: &["GUID [--user USER] [--conversation ID] [--wait SECONDS] [--json]"],
        flags: &["--json"],
        values: &["--user", "--conversation", "--wait"],
        line: "where is my message? Its stages, with times and places",
        needs: "AMQP_URL, REDIS_NODES, DATABASE_URL",
        more: "\
GUID is the sender's name for the message. Every program is asked what it remembers of it, the
quarantine is looked through, and the database says whether it is kept. Several senders may have
used one guid: all are shown. Its text never is.
Stages: accepted by a gateway, confirmed by the broker (it waits in its lane), taken by a worker,
delayed (retry ladder), quarantined, refused; committed (in the database), published to a gateway;
written: its last byte was handed to the kernel for that socket, which is not yet that somebody has
it; read: so many members have said messageRead for it or a later one. Clients acknowledge nothing
else. Every time is by the clock of the program beside it.
Programs remember the last 65,536 messages or so (TRACE_MESSAGES), and what a killed program knew is
gone: then the database knows what is committed, and what is confirmed and nowhere else waits in its
lane. For an older message, --user (its sender, an id or an e-mail) or --conversation says where the
database should look. Exit code 1 when nobody knows it, or a program was silent.",
    },
    Page {
        name: "migrate",
        forms: &["[--json]"],
        flags: &["--json"],
        values: &[],
        line: "bring the schema up to date, and say what was applied",
        needs: "DATABASE_URL",
        more: "\
Workers do so as well when they start; any number may at once. Nothing to apply is good.",
    },
    Page {
        name: "user",
        forms: &[
            "create --email EMAIL [--admin] [--name NAME] [--phone PHONE] [--password-stdin] [--json]",
            "show USER [--json]",
        ],
        flags: &["--json", "--admin", "--password-stdin"],
        values: &["--email", "--name", "--phone"],
        line: "make an account, or look at one and its logins",
        needs: "DATABASE_URL",
        more: "\
`create` makes an account, of an administrator with --admin. Its password is the first line of
standard input with --password-stdin; else one is made and printed, once. Without --phone it has
none. `show` prints no password and no token. USER is an id or an e-mail.",
    },
];

/// The page of a command.
pub fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

/// A line for each, for the help of the whole program.
pub fn overview() -> String {
    let mut text = String::new();
    for page in PAGES {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {:<11} {}", page.name, page.line);
    }
    format!("{text}\n{WHO}\n{EXITS}")
}

impl Page {
    /// An option of this command, and whether a value follows.
    pub fn option(&self, word: &str) -> Option<(&'static str, bool)> {
        let find = |names: &'static [&'static str]| names.iter().copied().find(|name| *name == word);
        find(self.flags).map(|name| (name, false)).or_else(|| find(self.values).map(|name| (name, true)))
    }

    /// All forms.
    pub fn usage(&self) -> String {
        let forms = self.forms.iter().map(|form| format!("chatchit {} {form}", self.name));
        forms.collect::<Vec<_>>().join("\n       ")
    }

    /// The whole page.
    pub fn text(&self) -> String {
        let Self { line, needs, more, .. } = self;
        format!("usage: {}\n\n{line}\n\n{more}\n\nNeeds: {needs}\n\n{WHO}\n{EXITS}", self.usage())
    }
}
