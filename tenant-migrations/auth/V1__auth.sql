-- People of a tenant: who they are, what they may do, and where they are signed in.

create table auth.account (
    id uuid not null,
    -- As typed; unique without regard to case.
    email text not null,
    name text not null default '',
    -- A PHC string (argon2id); never a password.
    password_hash text not null,
    status text not null default 'active',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint account_key primary key (id),
    constraint account_email_check check (char_length(email) between 3 and 254),
    constraint account_name_check check (char_length(name) <= 200),
    constraint account_status_check check (status in ('active', 'disabled'))
);
create unique index account_email_key on auth.account (lower(email));

create table auth.role (
    name text not null,
    title text not null,
    -- The most powerful first.
    position integer not null,
    constraint role_key primary key (name)
);

-- What a role may do. `*` is everything; `*:<action>` is that action in every module; anything else
-- is one permission by its name. Modules name their permissions `<module>:<action>`; `read` and
-- `write` are the everyday actions, and whatever is more delicate takes a word of its own.
create table auth.role_grant (
    role text not null,
    pattern text not null,
    constraint role_grant_key primary key (role, pattern),
    constraint role_grant_role_fk foreign key (role) references auth.role (name) on delete cascade,
    constraint role_grant_pattern_check
        check (pattern = '*' or pattern ~ '^(\*|[a-z][a-z0-9_]*):[a-z][a-z_]*$')
);

insert into auth.role (name, title, position) values
    ('owner', 'Owner', 1),
    ('editor', 'Editor', 2),
    ('viewer', 'Viewer', 3);
insert into auth.role_grant (role, pattern) values
    ('owner', '*'),
    ('editor', '*:read'),
    ('editor', '*:write'),
    ('viewer', '*:read');

create table auth.membership (
    account_id uuid not null,
    role text not null,
    constraint membership_key primary key (account_id, role),
    constraint membership_account_fk
        foreign key (account_id) references auth.account (id) on delete cascade,
    constraint membership_role_fk foreign key (role) references auth.role (name)
);

-- A sign-in: the family of refresh tokens that follow from one login.
create table auth.session (
    id uuid not null,
    account_id uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint session_key primary key (id),
    constraint session_account_fk
        foreign key (account_id) references auth.account (id) on delete cascade
);
create index session_account_index on auth.session (account_id);

create table auth.refresh_token (
    -- SHA-256 of the token; the token itself is kept nowhere.
    digest bytea not null,
    session_id uuid not null,
    -- The token that was spent for this one; null for the one that came with the login.
    parent bytea,
    -- live: good once. spent: was exchanged. superseded: its parent was exchanged again because
    -- the answer that carried it was lost.
    state text not null default 'live',
    spent_at timestamptz,
    created_at timestamptz not null default now(),
    constraint refresh_token_key primary key (digest),
    constraint refresh_token_session_fk
        foreign key (session_id) references auth.session (id) on delete cascade,
    constraint refresh_token_state_check check (state in ('live', 'spent', 'superseded')),
    constraint refresh_token_spent_check check ((state = 'spent') = (spent_at is not null))
);
create index refresh_token_session_index on auth.refresh_token (session_id);

-- What happened to identities. The application may only add to it.
create table auth.audit (
    id bigint generated always as identity,
    at timestamptz not null default clock_timestamp(),
    -- Who did it; no foreign key, because the record outlives the account.
    actor uuid not null,
    action text not null,
    -- Whom it was done to.
    subject uuid not null,
    constraint audit_key primary key (id)
);
revoke update, delete on auth.audit from tn_data;
