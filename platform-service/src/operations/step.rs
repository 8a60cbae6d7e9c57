//! The words for steps: one list for all kinds of operations.
//!
//! Deliberately without an order: each kind lists its own. Invariant: a word is not taken off the list as
//! long as a log in some registry may hold it.

use std::str::FromStr;

use kit::error::Problem;

use super::{Stop, UnknownWord};

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)+) => {
        /// A step of an operation; which ones an operation has, and in which order, its kind says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Step {
            $($(#[$doc])* $name,)+
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// The word for it in the registry and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

steps! {
    /// The role's password is kept in the secret store.
    Secret = "secret";
    /// A cluster is chosen, and the copy on it that becomes the tenant's database.
    Place = "place";
    /// It is known how things stand that others' statements are not to change.
    Survey = "survey";
    /// Database and role have the tenant's name.
    Database = "database";
    /// Every schema has the newest version.
    Schema = "schema";
    /// The services' hooks have run; the owner has an account.
    Provision = "provision";
    /// The tenant is served.
    Activate = "activate";
    /// The registry says what becomes of the tenant, and replicas hear of it.
    Announce = "announce";
    /// The tenant's role may do what it should and no more.
    Wall = "wall";
    /// No session is left that knew an older wall.
    Sessions = "sessions";
    /// Database and role have another name.
    Rename = "rename";
    /// Database and role have the tenant's name again.
    RenameBack = "rename_back";
    /// A last backup is kept.
    FinalBackup = "final_backup";
    /// Nothing brings the tenant back from here on.
    Condemn = "condemn";
    /// Databases are dropped.
    Drop = "drop";
    /// Secrets are removed from their store.
    Secrets = "secrets";
    /// Objects are removed from their store.
    Objects = "objects";
    /// Only the tombstone and its certificate are left.
    Tombstone = "tombstone";
    /// A new secret is known beside the old one.
    Publish = "publish";
    /// The server takes the new password.
    Password = "password";
    /// The new secret is the only one.
    Settle = "settle";
    /// The old secret is removed.
    Retire = "retire";
    /// The new owner has an account.
    Account = "account";
    /// The data is written to an object.
    Dump = "dump";
    /// The registry knows of it.
    Record = "record";
    /// The registry says that it goes away or is left.
    Mark = "mark";
    /// It is removed.
    Remove = "remove";
    /// A database to try things in is made.
    Scratch = "scratch";
    /// The data is loaded.
    Load = "load";
    /// What was loaded is what was written.
    Compare = "compare";
    /// It is known how the rows differ.
    Count = "count";
    /// Requests of the tenant wait.
    Hold = "hold";
    /// The tenant's name is on another database.
    Swap = "swap";
    /// The archive is complete.
    Pack = "pack";
    /// The archive is checked.
    Unpack = "unpack";
    /// Every row of the file is recorded.
    Rows = "rows";
    /// A tenant is made of every row.
    Make = "make";
    /// A database on the other cluster is made.
    Target = "target";
    /// The data is copied.
    Copy = "copy";
    /// The other cluster has the tenant.
    Switch = "switch";
    /// What is left on the old cluster is renamed and kept for a time.
    Leave = "leave";
    /// The source keeps what changes.
    Slot = "slot";
    /// The data of one moment is copied.
    Snapshot = "snapshot";
    /// The copy follows the source.
    Follow = "follow";
    /// The copy has all that the source had.
    CatchUp = "catch_up";
    /// Sequences of the copy are ahead.
    Sequences = "sequences";
    /// Every tenant has left the cluster.
    Moves = "moves";
    /// It is known which tenants are concerned.
    Prepare = "prepare";
    /// Every wave has been rolled out.
    Waves = "waves";
    /// What came of it is recorded.
    Finish = "finish";
    /// Schemas are brought up to date.
    Migrate = "migrate";
    /// It is known what it should look like.
    Reference = "reference";
    /// Nobody but the platform gets into the database.
    Close = "close";
    /// What is in the database belongs to the platform's role.
    Own = "own";
    /// Credentials are replaced.
    Rotate = "rotate";
    /// Secrets are sealed with the newest key.
    Reseal = "reseal";
}

impl Step {
    /// The refusal to act on it, by a kind of operation that does not name it: a step that is added to a kind
    /// is seen to be missing, and not taken for another or for done.
    pub(super) fn unexpected(self) -> Stop {
        let word = self.as_str();
        Stop::Fail(Problem::internal(format!(
            "an operation of this kind does not know what to do in the step {word}"
        )))
    }
}

impl FromStr for Step {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .iter()
            .copied()
            .find(|step| step.as_str() == text)
            .ok_or(UnknownWord("step"))
    }
}
