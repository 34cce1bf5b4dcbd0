//! What goes to the target in place of texts that read classified columns.

use super::*;

/// The subquery that stands for `customers`, whose `email` and `ssn` are classified.
const MASKED: &str = "(SELECT __gateway_t.id, __gateway_t.name, \
    (CASE WHEN __gateway_t.\"email\" IS NOT NULL THEN ('***')::pg_catalog.text END) AS email, \
    __gateway_t.phone, \
    (CASE WHEN __gateway_t.\"ssn\" IS NOT NULL THEN ('***')::pg_catalog.text END) AS ssn \
    FROM public.customers __gateway_t)";

/// The same, offering the value of `email` to comparisons.
const COMPARED: &str = "(SELECT __gateway_t.id, __gateway_t.name, \
    (CASE WHEN __gateway_t.\"email\" IS NOT NULL THEN ('***')::pg_catalog.text END) AS email, \
    __gateway_t.phone, \
    (CASE WHEN __gateway_t.\"ssn\" IS NOT NULL THEN ('***')::pg_catalog.text END) AS ssn, \
    __gateway_t.email AS __gateway_real_3 FROM public.customers __gateway_t)";

fn rewritten(text: &str) -> Result<String, String> {
    let snapshot = shop();
    let classified = classification(&snapshot);
    let analysis = on_analysis_stack(|| analysed(text, &snapshot, &classified));
    match &analysis.classified.shape {
        Shape::Rewritten(rewrite) => {
            let text = rewrite.render(|_| true).text;
            Ok(text
                .replace(COMPARED, "<compared>")
                .replace(MASKED, "<masked>")
                .replace(&MASKED.replace("FROM public", "FROM ONLY public"), "<only>"))
        }
        Shape::Beyond { construct, .. } => Err(construct.clone()),
        shape => Err(format!("{shape:?}")),
    }
}

#[test]
fn whatever_reads_a_table_reads_masks() {
    for (text, expected) in [
        (
            "select count(*) from customers",
            "SELECT count(*) FROM <masked> customers",
        ),
        (
            "select md5(c.email) from public.customers c join orders o using (id)",
            "SELECT md5(c.email) FROM <masked> c JOIN public.orders o USING (id)",
        ),
        (
            "select public.customers.email || 'x' from public.customers",
            "SELECT customers.email || 'x' FROM <masked> customers",
        ),
        (
            "select row_to_json(c) from customers c",
            "SELECT row_to_json(c) FROM <masked> c",
        ),
        (
            "select x from customers as c(a, b, x) order by x",
            "SELECT x FROM <masked> c(a, b, x) ORDER BY x",
        ),
        (
            "with c as (select email from customers) select * from c union select ssn from customers",
            "WITH c AS (SELECT email FROM <masked> customers) SELECT * FROM c UNION SELECT ssn FROM <masked> customers",
        ),
        (
            "copy customers (email) to stdout",
            "COPY (SELECT email FROM <only> __gateway_source) TO STDOUT",
        ),
        (
            "select email = 'x', 'x' = any (email) from customers",
            "SELECT email = 'x', 'x' = ANY(email) FROM <masked> customers",
        ),
        (
            "declare c cursor for select upper(email) from customers",
            "DECLARE c CURSOR FOR SELECT upper(email) FROM <masked> customers",
        ),
        (
            "explain select max(email) from customers",
            "EXPLAIN SELECT max(email) FROM <masked> customers",
        ),
        (
            "select 1; select email from customers",
            "select 1; SELECT email FROM <masked> customers",
        ),
    ] {
        assert_eq!(rewritten(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn comparisons_by_equality_see_values_and_nothing_else_does() {
    for (text, expected) in [
        (
            "select count(*) from customers where email = $1",
            "SELECT count(*) FROM <compared> customers WHERE customers.__gateway_real_3 = $1",
        ),
        (
            "select c.id from customers c, customers d where c.email = d.email and d.id = 1",
            "SELECT c.id FROM <compared> c, <compared> d WHERE c.__gateway_real_3 = d.__gateway_real_3 AND d.id = 1",
        ),
        (
            "select * from customers c join orders o on o.id = c.id where c.email in ('a', $1)",
            "SELECT c.id, c.name, c.email, c.phone, c.ssn, o.* FROM <compared> c JOIN public.orders o ON o.id = c.id WHERE c.__gateway_real_3 IN ('a', $1)",
        ),
        (
            "select id from orders o where exists (select 1 from customers c where c.email::text = any ($1) and c.id = o.id)",
            "SELECT id FROM public.orders o WHERE EXISTS (SELECT 1 FROM <compared> c WHERE c.__gateway_real_3::text = ANY($1) AND c.id = o.id)",
        ),
        (
            "select upper(email) from customers where email is not null",
            "SELECT upper(email) FROM <compared> customers WHERE customers.__gateway_real_3 IS NOT NULL",
        ),
    ] {
        assert_eq!(rewritten(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_compares_may_not_show_the_row_it_compares_in() {
    for (text, expected) in [
        (
            "select c from customers c where email = 'x'",
            "the whole row of `c`",
        ),
        (
            "select row(c.*) from customers c where email = 'x'",
            "the whole row of `c`",
        ),
        (
            "select (c).* from customers c where email = 'x'",
            "the whole row of `c`",
        ),
        (
            "select (select to_json(c)) from customers c where email = 'x'",
            "the whole row of `c`",
        ),
        (
            "select c.text from customers c where email = 'x'",
            "the whole row of `c`",
        ),
        (
            "select * from customers c natural join orders where c.email = 'x'",
            "* over a join by name",
        ),
        (
            "select j.* from (customers c join orders o on c.email = 'x') j",
            "an alias of a join",
        ),
        (
            "select __gateway_real_3 from customers where email = 'x'",
            "a name with __gateway_",
        ),
        (
            "select '__gateway_mask_0', count(*) from customers",
            "a name with __gateway_",
        ),
        (
            "select c.id from customers c join orders d on c.email = d.note",
            "deciding by `c.email`",
        ),
        (
            "select id from customers join customers d using (email)",
            "a join by the name email (write ON a.email = b.email)",
        ),
    ] {
        assert_eq!(rewritten(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn changes_take_the_agents_values_and_show_masks() {
    let mask = |column: &str| {
        format!(
            "(CASE WHEN \"customers\".\"{column}\" IS NOT NULL THEN ('***')::pg_catalog.text END) AS {column}"
        )
    };
    for (text, expected) in [
        (
            "update customers set email = $1 where email = $2 and id = 7 returning id, email",
            format!(
                "UPDATE public.customers SET email = $1 WHERE email = $2 AND id = 7 RETURNING id, {}",
                mask("email")
            ),
        ),
        (
            "insert into customers (id, email) values (1, 'x') on conflict (id) do update set email = excluded.email returning *",
            format!(
                "INSERT INTO public.customers (id, email) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING customers.id, customers.name, {}, customers.phone, {}",
                mask("email"),
                mask("ssn")
            ),
        ),
        (
            "delete from orders using customers c where c.id = orders.id and c.email = 'x'",
            "DELETE FROM public.orders USING <compared> c WHERE c.id = orders.id AND c.__gateway_real_3 = 'x'".to_owned(),
        ),
        (
            "insert into orders(id) select id from customers where email = 'x'",
            "INSERT INTO public.orders (id) SELECT id FROM <compared> customers WHERE customers.__gateway_real_3 = 'x'".to_owned(),
        ),
    ] {
        assert_eq!(rewritten(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("update customers set name = email", "storing `email`"),
        (
            "update customers set name = 'x' returning upper(email)",
            "reading `email`",
        ),
        (
            "update customers set name = 'x' returning customers",
            "the whole row of `customers`",
        ),
        (
            "update customers set name = 'x' returning old.email",
            "the whole row of `old`",
        ),
        (
            "update customers set name = 'x' returning new.*",
            "the whole row of `new`",
        ),
        (
            "update customers set name = (select email from (select 1) x)",
            "storing `email`",
        ),
        (
            "delete from customers where email like 'a%'",
            "deciding by `email`",
        ),
        (
            "insert into orders select * from customers",
            "storing * of a table with classified columns",
        ),
        (
            "insert into orders select c.* from customers c",
            "the whole row of `c`",
        ),
        (
            "with x as (select * from customers) insert into orders select id from x",
            "storing * of a table with classified columns",
        ),
    ] {
        assert_eq!(rewritten(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn only_columns_that_are_masked_are_masked() {
    let snapshot = shop();
    let classified = classification(&snapshot);
    let text = "select upper(email), upper(ssn) from customers";
    let analysis = on_analysis_stack(|| analysed(text, &snapshot, &classified));
    let Shape::Rewritten(rewrite) = &analysis.classified.shape else {
        panic!("{:?}", analysis.classified.shape);
    };
    let revealed = rewrite.render(|column| column.number != 3).text;
    assert!(
        revealed.contains("__gateway_t.\"email\" AS email")
            && !revealed.contains("__gateway_t.\"ssn\" AS"),
        "{revealed}"
    );
}
