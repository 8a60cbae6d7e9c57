-- Work: projects and their tasks.

create table reference.project (
    id uuid not null,
    contact_id uuid,
    title text not null,
    starts_on date,
    ends_on date,
    constraint project_key primary key (id),
    constraint project_contact_fk foreign key (contact_id) references reference.contact (id),
    constraint project_dates_check check (ends_on >= starts_on)
);
create index project_contact_index on reference.project (contact_id);

create table reference.task (
    id uuid not null,
    project_id uuid not null,
    title text not null,
    status text not null default 'open',
    due_on date,
    constraint task_key primary key (id),
    constraint task_project_fk foreign key (project_id) references reference.project (id) on delete cascade,
    constraint task_status_check check (status in ('open', 'doing', 'done'))
);
create index task_project_index on reference.task (project_id);
create index task_due_index on reference.task (due_on) where status <> 'done';
