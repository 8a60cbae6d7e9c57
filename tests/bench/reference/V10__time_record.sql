-- Time spent on tasks.

create table reference.time_record (
    id uuid not null,
    task_id uuid not null,
    person text not null,
    started_at timestamptz not null,
    minutes integer not null,
    constraint time_record_key primary key (id),
    constraint time_record_task_fk foreign key (task_id) references reference.task (id),
    constraint time_record_minutes_check check (minutes between 1 and 1440)
);
create index time_record_task_index on reference.time_record (task_id);
create index time_record_person_index on reference.time_record (person, started_at);
