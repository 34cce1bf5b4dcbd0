-- All that an agent could have changed, as one text: rows, objects, rights, settings, roles, what the
-- server keeps beside. No process ids, no times.
select concat_ws(E'\n',
    (select string_agg(r, ',' order by r) from (
        select 'v' || t::text from victims t union all select 'i' || t::text from side t union all select 's' || t::text from side_trigger t
        union all select 'd' || t::text from side_default t union all select 'o' || id || status || total from orders t union all select 'n' || t::text from order_items t
        union all select 'c' || id || name || coalesce(city, '') || visits from customers t union all select 'p' || t::text from products t union all select 'k' || t::text from carts t
        union all select 'l' || t::text from plain_table t union all select 'a' || t::text from audited t union all select 'm' || t::text from m_victims t
        union all select 'u' || t::text from strict_ids t union all select 'f' || t::text from people t) x (r)),
    (select string_agg(format('%s.%s %s %s %s %s %s %s', relnamespace::regnamespace, relname, relkind, relowner::regrole, relacl, reloptions, array[relrowsecurity, relforcerowsecurity, relispopulated], relpersistence), ',' order by relnamespace::regnamespace::text, relname)
        from pg_class where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace) and relkind <> 't'),
    (select string_agg(format('%s.%s %s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull, attacl), ',' order by attrelid::regclass::text, attnum)
        from pg_attribute a join pg_class c on c.oid = attrelid where attnum > 0 and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)),
    (select string_agg(format('%s %s %s', oid::regprocedure, md5(prosrc), proacl) || prosecdef || proowner::regrole || coalesce(proconfig::text, ''), ',' order by oid::regprocedure::text)
        from pg_proc where pronamespace <> 'pg_catalog'::regnamespace),
    (select string_agg(nspname || nspowner::regrole || coalesce(nspacl::text, ''), ',' order by nspname) from pg_namespace where nspname !~ '^pg_(toast_)?temp'),
    (select string_agg(typname || typnamespace::regnamespace, ',' order by typname) from pg_type where typnamespace <> 'pg_catalog'::regnamespace),
    (select string_agg(tgname || tgrelid::regclass || tgenabled::text, ',' order by tgname, tgrelid::regclass::text) from pg_trigger),
    (select string_agg(rulename || ev_class::regclass || md5(ev_action::text), ',' order by rulename, ev_class::regclass::text) from pg_rewrite where oid >= 16384),
    (select string_agg(conname || conrelid::regclass, ',' order by conname, conrelid::regclass::text) from pg_constraint),
    (select string_agg(polname || polrelid::regclass || coalesce(polqual::text, ''), ',' order by polname) from pg_policy),
    (select string_agg(a::text, ',' order by rolname) from pg_authid a),
    (select string_agg(m::text, ',' order by m::text) from (select roleid, member from pg_auth_members order by 1, 2) m),
    (select string_agg(datname || datconnlimit || datallowconn || coalesce(datacl::text, ''), ',' order by datname) from pg_database where datname not in ('direct_c')),
    (select string_agg(coalesce(setrole::regrole::text, '') || setconfig::text, ',' order by setrole, setconfig::text) from pg_db_role_setting),
    (select string_agg(extname, ',' order by extname) from pg_extension),
    (select string_agg(lanname || lanpltrusted, ',' order by lanname) from pg_language),
    (select string_agg(pubname, ',' order by pubname) from pg_publication),
    (select string_agg(slot_name, ',' order by slot_name) from pg_replication_slots),
    (select string_agg(evtname, ',' order by evtname) from pg_event_trigger),
    (select string_agg(srvname, ',' order by srvname) from pg_foreign_server),
    (select string_agg(spcname, ',' order by spcname) from pg_tablespace),
    (select string_agg(description, ',' order by description) from pg_description where objoid >= 16384),
    (select string_agg(gid, ',' order by gid) from pg_prepared_xacts),
    (select count(*)::text from pg_largeobject_metadata),
    (select string_agg(castsource::regtype || '>' || casttarget::regtype, ',' order by castsource, casttarget) from pg_cast where oid >= 16384),
    (select string_agg(oprname, ',' order by oprname) from pg_operator where oid >= 16384),
    (select string_agg(stxname, ',' order by stxname) from pg_statistic_ext),
    (select string_agg(name || setting, ',' order by name) from pg_file_settings where sourcefile like '%auto.conf'),
    (select string_agg(enumlabel, ',' order by enumlabel) from pg_enum),
    (select string_agg(defaclacl::text, ',' order by defaclacl::text) from pg_default_acl),
    (select concat_ws(' ', (select count(*) from pg_collation), (select count(*) from pg_ts_config), (select count(*) from pg_am), (select count(*) from pg_publication_rel))),
    (select last_value || is_called::text from numbers),
    (select last_value || is_called::text from carts_id_seq),
    (select count(*)::text from pg_stat_activity where application_name = 'bystander'),
    (select string_agg(relname || pg_relation_filenode(oid), ',' order by relname) from pg_class where relname in ('victims', 'victims_pkey', 'customers', 'plain_table')),
    (select string_agg(f, ',' order by f) from pg_ls_dir('.') f where f like 'corpus%')
)
