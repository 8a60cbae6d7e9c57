//! What runs by itself in a database that somebody else filled or changed: with the next migration, with a row that
//! is written, with maintenance, or with its owner's rights whoever calls it. Its owner is the one of all tenants'
//! schemas on the server.
//!
//! Deliberately reads the catalog alone, and knows nothing of what migrations make: whoever asks holds it against
//! what was there before, or against a database that migrations made. Invariant: nothing that it looks at runs.

use std::collections::BTreeSet;

use sqlx::PgConnection;

/// Everything of this kind, in words that tell two apart that do different things: routines with their owner's
/// rights, whatever depends on a routine (triggers, defaults, checks, indexes, operators, casts), rules and policies, but
/// for plain views, which run nothing by themselves; what calls a function of the server that runs a text (those that
/// make XML of a query, `ts_rewrite`, `ts_stat`); and anything at all that is tied to a history of migrations.
///
/// Routines of superusers are the server's and its extensions': a member of an extension says nothing, since whoever
/// owns one may add what they like.
pub(crate) async fn unattended(
    connection: &mut PgConnection,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar(
        "with history as (
             select oid, relkind, format('%s.%s', relnamespace::regnamespace, relname) as name
             from pg_class where relname = 'refinery_schema_history'
         ), routine as (
             select pg_proc.oid, prosecdef,
                 format('%s (%s)', pg_proc.oid::regprocedure, left(encode(sha256(convert_to(concat_ws(
                     '|', prosrc, prosqlbody::text, prolang, proconfig::text), 'UTF8')), 'hex'), 16)) as name
             from pg_proc join pg_roles on pg_roles.oid = proowner
             where pg_proc.oid >= 16384 and not rolsuper
         )
         select format('the routine %s, which runs with its owner''s rights', name) from routine where prosecdef
         union
         select format('%s, by the routine %s', pg_describe_object(classid, objid, objsubid), name)
         from pg_depend join routine on refclassid = 'pg_proc'::regclass and refobjid = routine.oid
         where deptype <> 'e' and classid <> 'pg_proc'::regclass and not exists (
             select from pg_rewrite join pg_class on pg_class.oid = ev_class
             where classid = 'pg_rewrite'::regclass and objid = pg_rewrite.oid and pg_class.relkind = 'v'
                 and rulename = '_RETURN')
         union
         select format('the rule %s on %s: %s', rulename, ev_class::regclass, pg_get_ruledef(oid))
         from pg_rewrite where oid >= 16384 and rulename <> '_RETURN'
         union
         select format('the policy %s on %s: %s, %s', polname, polrelid::regclass,
             pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
         from pg_policy
         union
         select format('the check %s: %s', conname, said) from pg_constraint,
             lateral (select pg_get_constraintdef(oid) as said) definition
         where pg_constraint.oid >= 16384 and contype in ('c', 'x') and said ~ '(_to_xml|ts_rewrite|ts_stat)'
         union
         select format('a default of %s: %s', adrelid::regclass, said) from pg_attrdef,
             lateral (select pg_get_expr(adbin, adrelid) as said) definition
         where said ~ '(_to_xml|ts_rewrite|ts_stat)'
         union
         select format('the trigger %s: %s', tgname, said) from pg_trigger,
             lateral (select pg_get_triggerdef(oid) as said) definition
         where not tgisinternal and said ~ '(_to_xml|ts_rewrite|ts_stat)'
         union
         select name || ', which is no table' from history where relkind <> 'r'
         union
         select format('%s on %s', tgname, name) from history
         join pg_trigger on tgrelid = history.oid where not tgisinternal
         union
         select format('%s on %s', rulename, name) from history
         join pg_rewrite on ev_class = history.oid where relkind = 'r'
         union
         select format('%s on %s', polname, name) from history
         join pg_policy on polrelid = history.oid
         union
         select format('%s on %s', conname, name) from history
         join pg_constraint on conrelid = history.oid where contype in ('c', 'x')
         union
         select format('a computed index on %s', name) from history
         join pg_index on indrelid = history.oid where indexprs is not null or indpred is not null
         union
         select format('a default on %s', name) from history
         join pg_attrdef on adrelid = history.oid",
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}
