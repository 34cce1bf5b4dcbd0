# A certificate authority of one's own, for loopback. Sourced after common.sh.
# shellcheck shell=bash

# tls_authority DIR: DIR/ca.crt and DIR/ca.key, for 30 days; kept while valid for another day.
tls_authority() {
  local dir=$1
  mkdir -p "$dir"
  if ! openssl x509 -in "$dir/ca.crt" -noout -checkend 86400 >/dev/null 2>&1; then
    rm -f "$dir"/*.crt "$dir"/*.key
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
      -subj '/CN=Quickstart authority' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
      -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null) || fail 'openssl could not make a certificate authority'
  fi
}

# tls_certificate DIR NAME: DIR/NAME.crt and DIR/NAME.key for `localhost`, signed by DIR's authority.
tls_certificate() {
  local dir=$1 name=$2
  [[ ! -s $dir/$name.crt ]] || return 0
  (
    umask 077
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
      -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1' 'basicConstraints=CA:FALSE' \
      'extendedKeyUsage=serverAuth' >"$dir/$name.ext"
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial \
      -days 29 -extfile "$dir/$name.ext" -out "$dir/$name.crt" 2>/dev/null
  ) || fail "openssl could not make the certificate $name"
  chmod 644 "$dir/ca.crt" "$dir/$name.crt"
  rm -f "$dir/$name.csr" "$dir/$name.ext"
}
