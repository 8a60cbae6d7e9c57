-- What people of a tenant need to sign in and out where its data may only be read.

grant usage on schema auth to tn_sign_in;
grant select on all tables in schema auth to tn_sign_in;
grant insert, update, delete on auth.session, auth.refresh_token to tn_sign_in;
grant update (password_hash, updated_at) on auth.account to tn_sign_in;
grant insert on auth.audit to tn_sign_in;
