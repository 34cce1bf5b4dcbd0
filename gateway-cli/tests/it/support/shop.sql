create table customers (
    id integer primary key,
    name text not null,
    email text not null unique,
    phone text,
    national_id text,
    date_of_birth date,
    city text,
    created_at timestamptz not null default now()
);
create table products (id integer primary key, sku text not null, title text not null, price numeric not null);
create table orders (
    id integer primary key,
    customer_id integer not null references customers,
    status text not null,
    total numeric not null,
    placed_at timestamptz not null default now()
);
create table order_items (
    order_id integer not null references orders,
    product_id integer not null references products,
    quantity integer not null,
    price numeric not null
);
create table carts (id integer primary key, customer_id integer not null references customers, updated_at timestamptz not null default now());
insert into customers (id, name, email, phone, national_id, date_of_birth, city) values
    (1, 'Ada Berg', 'ada@example.org', '+46701234567', '19800101-1234', '1980-01-01', 'Lund'),
    (2, 'Bo Falk', 'bo@example.net', '+46707654321', '19751231-4321', '1975-12-31', 'Ystad'),
    (3, 'Cy Holm', 'cy@example.com', null, null, null, 'Lund');
insert into products values (1, 'TEA', 'Tea', 4.50), (2, 'MUG', 'Mug', 12.00);
insert into orders (id, customer_id, status, total) values (1, 1, 'paid', 16.50), (2, 2, 'open', 4.50);
insert into order_items values (1, 1, 1, 4.50), (1, 2, 1, 12.00), (2, 1, 1, 4.50);
insert into carts (id, customer_id) values (1, 1), (2, 2), (3, 3);
grant select, insert, update, delete on all tables in schema public to gateway;
