#!/bin/sh
# apt-install [--no-cluster] PACKAGE…: installs Debian packages in an image, starts nothing, leaves no lists.
set -eu
# The scripts of packages start no services.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -q
if [ "$1" = --no-cluster ]; then
    shift
    apt-get install -y -q --no-install-recommends postgresql-common
    printf 'create_main_cluster = false\n' >>/etc/postgresql-common/createcluster.conf
fi
apt-get install -y -q --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /usr/sbin/policy-rc.d
