-- What people say about tasks.

create table reference.comment (
    id uuid not null,
    task_id uuid not null,
    author text not null,
    body text not null,
    created_at timestamptz not null default now(),
    constraint comment_key primary key (id),
    constraint comment_task_fk foreign key (task_id) references reference.task (id) on delete cascade,
    constraint comment_body_check check (char_length(body) between 1 and 10000)
);
create index comment_task_index on reference.comment (task_id, created_at);
