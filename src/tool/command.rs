//! The operator's commands, and their help. Pure: arguments in, a command or an error out.

use std::time::Duration;

use clap::{Args, Subcommand};
use common::bus::{Pattern, Which};
use protocol::ids::{ConversationId, Guid, LoginId, NodeId};

use super::values::{self, Whose};

/// The last lines of every command's help.
macro_rules! reads {
    ($variables:literal) => {
        concat!(
            "Reads ", $variables, ": the same environment as the programs (README.md).\n\
            Operators need the secrets of the broker and the database; there is no other login.\n\n\
            Exit codes: 0 good; 1 nothing found, no answer, or only a part; 2 failed; 64 the command line or\n\
            the environment is not understood."
        )
    };
}

/// Every command, as it is called.
#[cfg(test)]
pub const NAMES: [&str; 11] = [
    "nodes",
    "lanes",
    "quarantine",
    "tail",
    "sessions",
    "kick",
    "drain",
    "trace",
    "redact",
    "migrate",
    "user",
];

/// The operator's commands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum OperatorCommand {
    /// List every program and its state
    ///
    /// Asks all programs over the bus and waits one second (--wait). LAG is how late a timer of 5 ms
    /// fired in the program when it was asked. Every node with a lease in the directory should
    /// answer; nodes that do not are listed as silent, and the exit code is 1. Without the directory
    /// the answers are shown, and silent nodes are not known.
    #[command(after_help = reads!("AMQP_URL, REDIS_NODES"))]
    Nodes(Asked),

    /// Show what waits: every lane and shard, the retry ladder, the quarantine
    ///
    /// WAITING (not yet given to a worker) and CONSUMERS come from the broker, by passive declares:
    /// the management plugin is not needed. They count batches of one or more events. UNACKED and
    /// OLDEST (since the gateway accepted the event) come from the workers, which are asked over the
    /// bus. Of the quorum queues of ordered lanes the broker counts only the consumer that it serves:
    /// there, CONSUMERS are those of the low lane. '?' means unknown: a worker did not answer, or, for
    /// OLDEST, no worker holds an event of this shard, and events can be read only by taking them.
    #[command(after_help = reads!("AMQP_URL"))]
    Lanes(Asked),

    /// Show events that were set aside, and put them back on their lane
    #[command(subcommand, after_help = reads!("AMQP_URL"))]
    Quarantine(QuarantineCommand),

    /// Watch envelopes as they are published: names and ids only
    ///
    /// PATTERN is a subject with * for one word and > for the rest: 'control.*', '>'. Only what passes
    /// the topic exchange can be watched: control.gateways (logins that end), control.workers (their
    /// beats), control.programs (an operator's questions), control.answers.<asker>. Subjects that go
    /// straight to one queue are refused, because watching would take their envelopes away: the lanes
    /// (high.*, medium.*, low.*), deliver.<node>, and requests (api.*). Ends with Ctrl-C, or after
    /// --for. With --json, one JSON object per line.
    #[command(after_help = reads!("AMQP_URL"))]
    Tail {
        /// A subject, with * and >
        #[arg(value_parser = values::watched)]
        pattern: Pattern,
        /// End after this many seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = values::seconds)]
        lasting: Option<Duration>,
        #[command(flatten)]
        form: AnswerForm,
    },

    /// List the open sockets of a user on all gateways
    ///
    /// All gateways are asked; those that the directory names for the user should answer. ADDRESS is
    /// unknown: a gateway keeps no address for an open socket. Exit code 1 if there is no socket or a
    /// gateway was silent.
    #[command(after_help = reads!("AMQP_URL, REDIS_NODES, and DATABASE_URL if USER is an e-mail"))]
    Sessions {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        asked: Asked,
    },

    /// Close the sockets of a user on all gateways, and end a login
    ///
    /// All sockets of the user are closed with 1001: clients reconnect at once. With --login, that login
    /// is ended first, as by a logout: in the database, in the directory, and at every gateway. Its
    /// sockets are closed with 4503 and its tokens are refused. `chatchit user show` lists logins.
    #[command(after_help = reads!("AMQP_URL, REDIS_NODES, and DATABASE_URL if USER is an e-mail or with --login"))]
    Kick {
        #[command(flatten)]
        user: User,
        /// End this login of the user
        #[arg(long, value_name = "ID", value_parser = values::login)]
        login: Option<LoginId>,
        #[command(flatten)]
        asked: Asked,
    },

    /// Tell a gateway or a worker to drain and exit, as SIGTERM does
    ///
    /// Returns when the node has answered that it drains. It exits later, by its own deadlines; a
    /// supervisor may start it again. Asking twice does not abort the node, as a second signal would.
    #[command(after_help = reads!("AMQP_URL"))]
    Drain {
        /// The node's id, 16 hexadecimal digits: the column NODE of `chatchit nodes`
        #[arg(value_parser = values::node)]
        node: NodeId,
        #[command(flatten)]
        asked: Asked,
    },

    /// Show where a message is: its stages, with times and places
    ///
    /// Every program is asked what it remembers of the message, the quarantine is searched, and the
    /// database says whether it is stored. All messages of this guid are shown, since several senders
    /// may use one guid. The text is never shown.
    ///
    /// Stages: accepted by a gateway; confirmed by the broker (it waits in its lane); taken by a
    /// worker; delayed (retry ladder), quarantined or refused; committed (in the database); published
    /// to a gateway (when the broker confirmed it, so written may be earlier); written (the kernel took
    /// its last byte for a socket, which does not mean that the client has it); read (how many members sent messageRead for it or a later message). Each time
    /// is by the clock of the program beside it.
    ///
    /// A program remembers about the last 65,536 messages (TRACE_MESSAGES), and a killed program
    /// forgets. Then the database knows what is committed; a message that is confirmed and nowhere else
    /// waits in its lane. For an older message, --user (its sender) or --conversation says where the
    /// database should look. Exit code 1 if the message is unknown or a program was silent.
    #[command(after_help = reads!("AMQP_URL, REDIS_NODES, DATABASE_URL"))]
    Trace {
        /// The sender's name for the message
        #[arg(value_parser = values::guid)]
        guid: Guid,
        #[command(flatten)]
        hint: Hint,
        #[command(flatten)]
        asked: Asked,
    },

    /// Empty a message: delete its content and its attachments for all members
    ///
    /// The message keeps its place, its sender and its time. The order goes through the lane of its
    /// conversation: the worker that owns the conversation executes it, after the command has
    /// returned. Members who are online hear the change at once (messageChanged), the others when they
    /// come back. Backups and copies of clients are not changed. If the conversation or the message
    /// does not exist, nothing happens. It cannot be undone.
    #[command(after_help = reads!("AMQP_URL"))]
    Redact {
        /// The conversation's id
        #[arg(value_parser = values::conversation)]
        conversation: ConversationId,
        /// The message's place in it (seq): `chatchit trace` shows it
        #[arg(value_parser = values::seq)]
        seq: u64,
        #[command(flatten)]
        form: AnswerForm,
    },

    /// Bring the database schema up to date, and list the migrations applied
    ///
    /// Workers do the same when they start; any number may do it at once. Exit code 0 if there was
    /// nothing to apply.
    #[command(after_help = reads!("DATABASE_URL"))]
    Migrate(AnswerForm),

    /// Make an account, block one, or show one and its logins
    #[command(subcommand, after_help = reads!("DATABASE_URL"))]
    User(Accounts),
}

/// `quarantine`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum QuarantineCommand {
    /// List what was set aside
    ///
    /// Names and ids are shown. Contents, and the words of a panic, which may quote them, are shown
    /// only with --bodies.
    #[command(after_help = reads!("AMQP_URL"))]
    Ls {
        #[command(flatten)]
        contents: Contents,
        #[command(flatten)]
        form: AnswerForm,
    },
    /// Show one envelope
    #[command(after_help = reads!("AMQP_URL"))]
    Show {
        /// Its place in the list of `ls`
        #[arg(value_name = "N", value_parser = values::place)]
        nth: usize,
        #[command(flatten)]
        contents: Contents,
        #[command(flatten)]
        form: AnswerForm,
    },
    /// Publish one envelope, or all, on its lane again
    ///
    /// The envelope is published unchanged, with the same guid, at the end of its lane. It is removed
    /// from the quarantine only after the broker has confirmed it. An interrupted replay leaves it in
    /// both places, which its guid makes harmless. After `replay N` the places behind N move up. An
    /// event that fails again comes back.
    #[command(after_help = reads!("AMQP_URL"))]
    Replay {
        /// Its place in the list of `ls`, or `all`
        #[arg(value_name = "N|all", value_parser = values::which)]
        which: Which,
        #[command(flatten)]
        form: AnswerForm,
    },
}

/// `user`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Accounts {
    /// Make an account
    ///
    /// The password is the first line of standard input with --password-stdin; otherwise one is made and
    /// printed once.
    #[command(after_help = reads!("DATABASE_URL"))]
    Create(NewUser),
    /// Block an account: it is out at once, and cannot log in
    ///
    /// Its logins end, as by a logout: sockets are closed with 4503, tokens are refused, and it neither
    /// reads nor sends. The same happens within seconds if is_blocked is set, or is_active cleared,
    /// in the database.
    #[command(after_help = reads!("AMQP_URL, REDIS_NODES, DATABASE_URL"))]
    Block {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        form: AnswerForm,
    },
    /// Take a block away: the user may log in again
    #[command(after_help = reads!("DATABASE_URL"))]
    Unblock {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        form: AnswerForm,
    },
    /// Show an account and its logins: no password, no token
    #[command(after_help = reads!("DATABASE_URL"))]
    Show {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        form: AnswerForm,
    },
}

/// An account to be.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NewUser {
    /// Its e-mail, with which it logs in
    #[arg(long, value_parser = values::email)]
    pub email: String,
    /// First name; without it, the e-mail up to the @
    #[arg(long)]
    pub name: Option<String>,
    /// Phone number; without it, the account has none
    #[arg(long)]
    pub phone: Option<String>,
    /// Make an administrator
    #[arg(long)]
    pub admin: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub form: AnswerForm,
}

/// The user of a command.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct User {
    /// The user's id or e-mail
    #[arg(value_name = "USER", value_parser = values::whose)]
    pub whose: Whose,
}

/// Whether contents are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Contents {
    /// Show contents too: they may be private
    #[arg(long)]
    pub bodies: bool,
}

/// Where else to look for a message that no program remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Hint {
    /// The sender's id or e-mail: where the database looks for an older message
    #[arg(long = "user", value_name = "USER", value_parser = values::whose)]
    pub sender: Option<Whose>,
    /// The conversation's id: where the database looks for an older message
    #[arg(long, value_name = "ID", value_parser = values::conversation)]
    pub conversation: Option<ConversationId>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct AnswerForm {
    /// Print JSON instead of words
    #[arg(long)]
    pub json: bool,
}

/// How the programs are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Asked {
    /// How long to wait for answers, in seconds, at most 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = values::wait)]
    pub wait: Duration,
    #[command(flatten)]
    pub form: AnswerForm,
}

impl OperatorCommand {
    /// How its answer is printed.
    pub fn form(&self) -> AnswerForm {
        match self {
            Self::Nodes(asked) | Self::Lanes(asked) => asked.form,
            Self::Sessions { asked, .. }
            | Self::Kick { asked, .. }
            | Self::Drain { asked, .. }
            | Self::Trace { asked, .. } => asked.form,
            Self::Quarantine(
                QuarantineCommand::Ls { form, .. }
                | QuarantineCommand::Show { form, .. }
                | QuarantineCommand::Replay { form, .. },
            )
            | Self::Tail { form, .. }
            | Self::Redact { form, .. }
            | Self::Migrate(form)
            | Self::User(
                Accounts::Show { form, .. } | Accounts::Block { form, .. } | Accounts::Unblock { form, .. },
            ) => *form,
            Self::User(Accounts::Create(new)) => new.form,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use common::limits::CONTROL_WAIT_MS;
    use protocol::ids::UserId;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: OperatorCommand,
    }

    fn line(text: &str) -> Result<OperatorCommand, String> {
        let words = ["chatchit"].into_iter().chain(text.split_whitespace());
        Line::try_parse_from(words).map(|line| line.command).map_err(|err| err.to_string())
    }

    fn check(text: &str, command: OperatorCommand) {
        assert_eq!(line(text), Ok(command), "{text}");
    }

    #[test]
    fn commands() {
        let form = AnswerForm { json: false };
        let asked = Asked { wait: Duration::from_millis(CONTROL_WAIT_MS), form };
        let contents = |bodies| Contents { bodies };
        let user = |whose| User { whose };
        check("nodes", OperatorCommand::Nodes(asked));
        let aside = |command| OperatorCommand::Quarantine(command);
        check("quarantine ls", aside(QuarantineCommand::Ls { contents: contents(false), form }));
        let shown = QuarantineCommand::Show { nth: 3, contents: contents(true), form };
        check("quarantine show 3 --bodies", aside(shown));
        check("quarantine replay 1", aside(QuarantineCommand::Replay { which: Which::Nth(1), form }));
        check("quarantine replay all", aside(QuarantineCommand::Replay { which: Which::All, form }));
        check("sessions 7", OperatorCommand::Sessions { user: user(Whose::Id(UserId(7))), asked });
        let email = user(Whose::Email("an@b.vn".to_owned()));
        check(
            "kick An@B.vn --login 3",
            OperatorCommand::Kick { user: email, login: Some(LoginId(3)), asked },
        );
        check("drain 00000000000000ab", OperatorCommand::Drain { node: NodeId(0xab), asked });
        let hint = Hint { sender: Some(Whose::Id(UserId(7))), conversation: Some(ConversationId(3)) };
        let guid = Guid::new("g-1").unwrap();
        check(
            "trace g-1 --user 7 --conversation 3",
            OperatorCommand::Trace { guid: guid.clone(), hint, asked },
        );
        check("trace g-1", OperatorCommand::Trace { guid, hint: Hint::default(), asked });
        let pattern = Pattern::new("control.>").unwrap();
        let lasting = Some(Duration::from_secs(2));
        check("tail control.> --for 2", OperatorCommand::Tail { pattern, lasting, form });
        let new = NewUser {
            email: "an@b.vn".into(),
            name: None,
            phone: None,
            admin: true,
            password_stdin: false,
            form,
        };
        check("user create --admin --email An@b.vn", OperatorCommand::User(Accounts::Create(new)));
        let asked = Asked { wait: Duration::from_millis(2_500), form: AnswerForm { json: true } };
        check("lanes --wait 2.5 --json", OperatorCommand::Lanes(asked));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "nodes now",
            "nodes --wait",
            "nodes --wait 0",
            "nodes --wait nan",
            "nodes --wait 61",
            "nodes --bodies",
            "nodes --json --json",
            "quarantine",
            "quarantine show",
            "quarantine show 0",
            "quarantine replay x",
            "tail",
            "tail high.*",
            "tail deliver.0000000000000001",
            "tail api.auth",
            "tail a>",
            "tail > --for inf",
            "tail > --for 1e300",
            "sessions",
            "sessions 0",
            "sessions -1",
            "sessions bob",
            "kick 7 --login x",
            "drain 12",
            "drain 00000000000000zz",
            "trace",
            "trace a b",
            "trace é",
            "trace g --user bob",
            "trace g --conversation 0",
            "migrate up",
            "user create",
            "user create --email x",
            "user destroy 7",
        ] {
            let sentence = line(bad).expect_err(bad);
            assert!(sentence.contains("--help") || sentence.contains("Usage: "), "{bad}: {sentence}");
        }
    }
}
