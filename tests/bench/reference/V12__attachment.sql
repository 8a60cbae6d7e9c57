-- Files that belong to something.

create table reference.attachment (
    id uuid not null,
    subject_kind text not null,
    subject_id uuid not null,
    file_name text not null,
    size_bytes bigint not null,
    constraint attachment_key primary key (id),
    constraint attachment_size_check check (size_bytes >= 0)
);
create index attachment_subject_index on reference.attachment (subject_kind, subject_id);
