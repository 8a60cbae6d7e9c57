//! The kinds of operations: the one place where a kind is added.
//!
//! Deliberately only forwards: what a kind does is in its own file, as a [`Saga`]. Invariant: a kind's word
//! and the fields of its plan stay readable for the next release, which may go on with an operation that
//! this one began.

use std::str::FromStr;

use serde_json::Value;
use sqlx::PgConnection;

use super::saga::{Head, Progress, Saga, Traits};
use super::{
    Step, Stop, UnknownWord, adopt, backup, bulk_create, clone_tenant, create, export,
    forget_backup, import, restore, rollout, verify_backup,
};
use super::{delete, purge, resume, rotate, suspend, transfer, undelete};
use super::{drain, move_tenant};
use super::{drift, trial};
use super::{reseal, rotate_fleet};
use crate::platform::Platform;
use crate::registry::{json, to_json};

macro_rules! kinds {
    (
        sagas { $($(#[$doc:meta])* $name:ident($plan:ty) = $word:literal;)+ }
        records { $($(#[$record_doc:meta])* $record:ident = $record_word:literal;)* }
    ) => {
        /// What an operation does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OperationKind {
            $($(#[$doc])* $name,)+
            $($(#[$record_doc])* $record,)*
        }

        impl OperationKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+ $(Self::$record,)*];

            /// The word for it in the registry and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                    $(Self::$record => $record_word,)*
                }
            }

            /// Every step that an operation of this kind may have, in order; none for a kind that is
            /// done when it is recorded.
            pub const fn steps(self) -> &'static [Step] {
                match self {
                    $(Self::$name => <$plan as Saga>::STEPS,)+
                    $(Self::$record => &[],)*
                }
            }
        }

        /// What an operation needs for its steps, by its kind.
        #[derive(Debug)]
        pub(crate) enum Plan {
            $($(#[$doc])* $name(Box<$plan>),)+
        }

        $(
            impl From<$plan> for Plan {
                fn from(plan: $plan) -> Self {
                    Self::$name(Box::new(plan))
                }
            }
        )+

        impl Plan {
            /// Its kind.
            pub(crate) const fn kind(&self) -> OperationKind {
                match self { $(Self::$name(_) => OperationKind::$name,)+ }
            }

            /// The plan of an operation of this kind, from the registry.
            pub(super) fn read(kind: OperationKind, value: Value) -> Result<Self, sqlx::Error> {
                match kind {
                    $(OperationKind::$name => {
                        Ok(Self::$name(Box::new(json("operation.plan", value)?)))
                    })+
                    $(OperationKind::$record => {
                        Err(sqlx::Error::Decode("what is only recorded has no plan".into()))
                    })*
                }
            }

            /// For the registry.
            pub(super) fn write(&self) -> Result<Value, sqlx::Error> {
                match self { $(Self::$name(plan) => to_json(plan),)+ }
            }

            /// See [`Saga::steps`].
            pub(super) fn steps(&self) -> &'static [Step] {
                match self { $(Self::$name(plan) => plan.steps(),)+ }
            }

            /// See [`Saga::point_of_no_return`].
            pub(super) fn point_of_no_return(&self) -> Step {
                match self { $(Self::$name(plan) => plan.point_of_no_return(),)+ }
            }

            /// See [`Saga::traits`].
            pub(super) fn traits(&self) -> Traits {
                match self { $(Self::$name(plan) => plan.traits(),)+ }
            }

            /// See [`Saga::needs_no_act`].
            pub(super) fn needs_no_act(&self, step: Step) -> bool {
                match self { $(Self::$name(plan) => plan.needs_no_act(step),)+ }
            }

            /// See [`Saga::concerns_keepers`].
            pub(super) fn concerns_keepers(&self) -> bool {
                match self { $(Self::$name(plan) => plan.concerns_keepers(),)+ }
            }

            /// See [`Saga::act`]. Boxed, as all of them, so that no future grows with the list.
            pub(super) async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
                match self { $(Self::$name(plan) => Box::pin(plan.act(platform, head)).await,)+ }
            }

            /// See [`Saga::record`].
            pub(super) async fn record(
                &self,
                connection: &mut PgConnection,
                head: &Head,
                step: Step,
            ) -> Result<(), Stop> {
                match self {
                    $(Self::$name(plan) => Box::pin(plan.record(connection, head, step)).await,)+
                }
            }

            /// See [`Saga::undo`].
            pub(super) async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
                match self { $(Self::$name(plan) => Box::pin(plan.undo(platform, head)).await,)+ }
            }

            /// See [`Saga::forget`].
            pub(super) async fn forget(
                &self,
                connection: &mut PgConnection,
                head: &Head,
            ) -> Result<(), Stop> {
                match self { $(Self::$name(plan) => Box::pin(plan.forget(connection, head)).await,)+ }
            }

            /// See [`Saga::result`].
            pub(super) fn result(&self) -> Option<Value> {
                match self { $(Self::$name(plan) => plan.result(),)+ }
            }

            /// See [`Saga::progress`].
            pub(super) fn progress(&self) -> Option<Progress> {
                match self { $(Self::$name(plan) => plan.progress(),)+ }
            }
        }
    };
}

kinds! {
    sagas {
        /// Makes a tenant.
        Create(create::CreatePlan) = "create";
        /// Moves a tenant to another cluster.
        Move(move_tenant::MovePlan) = "move";
        /// Empties a cluster.
        Drain(drain::DrainPlan) = "drain";
        /// Holds a tenant back.
        Suspend(suspend::SuspendPlan) = "suspend";
        /// Lets a suspended tenant go on.
        Resume(resume::ResumePlan) = "resume";
        /// Off-boards a tenant so that it can come back.
        Delete(delete::DeletePlan) = "delete";
        /// Brings a deleted tenant back.
        Undelete(undelete::UndeletePlan) = "undelete";
        /// Destroys what is left of a deleted tenant.
        Purge(purge::PurgePlan) = "purge";
        /// Gives a tenant another owner.
        Transfer(transfer::TransferPlan) = "transfer";
        /// Replaces the password of a tenant's role.
        Rotate(rotate::RotatePlan) = "rotate";
        /// Makes the tenants of a file.
        BulkCreate(bulk_create::BulkCreatePlan) = "bulk_create";
        /// Makes a tenant of another one's data.
        Clone(clone_tenant::ClonePlan) = "clone";
        /// Writes a tenant to an archive.
        Export(export::ExportPlan) = "export";
        /// Makes a tenant of an archive.
        Import(import::ImportPlan) = "import";
        /// Makes a tenant of a database that is there.
        Adopt(adopt::AdoptPlan) = "adopt";
        /// Writes a tenant's data to an object.
        Backup(backup::BackupPlan) = "backup";
        /// Restores a backup to see that it can be.
        VerifyBackup(verify_backup::VerifyBackupPlan) = "verify_backup";
        /// Brings a tenant back to a backup, or to the database that the last restore replaced.
        RestoreBackup(restore::RestorePlan) = "restore_backup";
        /// Removes a backup.
        ForgetBackup(forget_backup::ForgetBackupPlan) = "forget_backup";
        /// Brings many tenants to the newest schema.
        Rollout(rollout::RolloutPlan) = "rollout";
        /// Tries the newest schema on a copy of a tenant's database.
        RolloutTrial(trial::TrialPlan) = "rollout_trial";
        /// Compares tenants' schemas with what the migrations make.
        Drift(drift::DriftPlan) = "drift";
        /// Replaces the passwords of many tenants' roles.
        RotateFleet(rotate_fleet::RotateFleetPlan) = "rotate_fleet";
        /// Seals every secret anew with the first key of the ring.
        Reseal(reseal::ResealPlan) = "reseal";
    }
    // Done in the transaction that records them.
    records {
        /// Changed what the registry says of a tenant.
        Change = "change";
        /// Asked many tenants a question.
        Query = "query";
        /// Published a new key that signs access tokens.
        RotateSigningKey = "rotate_signing_key";
    }
}

impl FromStr for OperationKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownWord("kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_one_that_can_be_asked_for() {
        let kinds: Vec<&str> = OperationKind::ALL
            .iter()
            .map(|kind| kind.as_str())
            .collect();
        assert_eq!(kinds, contract::operator::operation::KINDS);
    }
}
