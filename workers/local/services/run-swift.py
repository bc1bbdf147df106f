"""Runs an S3 server, OpenStack Swift with one device, from the distribution's Python package.

run-swift.py FOLDER ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT

Needs {proxy,account,container,object}-server.conf and swift.conf in FOLDER, and nothing in /etc. The four servers are forks
of one process, which loads the code only once, and end together.
"""

import ctypes
import importlib
import logging
import os
import signal
import sys

# The addresses here are numbers; looking names up in its own way only costs Eventlet start-up time.
os.environ['EVENTLET_NO_GREENDNS'] = 'yes'

from swift.common import utils, wsgi
from swift.common.ring import RingBuilder

PR_SET_PDEATHSIG = 1
STORAGE = ('account', 'container', 'object')


def write_ring(folder, kind, port):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    address = {'ip': '127.0.0.1', 'port': port, 'replication_ip': '127.0.0.1', 'replication_port': port}
    builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'device': 'disk', 'weight': 1.0, 'meta': '', **address})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, kind + '.ring.gz'))


def serve(folder, kind):
    # Ends with the process that it was forked from, however that ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    name = kind + '-server'
    sys.exit(wsgi.run_wsgi(os.path.join(folder, name + '.conf'), name))


def main(folder, *ports):
    utils.set_swift_dir(folder)
    # Swift writes to the system's log and nowhere else; this server's messages belong beside its data.
    utils.ThreadSafeSysLogHandler = lambda **_: logging.StreamHandler(sys.stderr)
    for kind, port in zip(STORAGE, ports):
        write_ring(folder, kind, int(port))
    # Every server does this for itself, which is half of its start-up; after the fork it finds it done.
    utils.eventlet_monkey_patch()
    for module in ('account', 'container', 'obj', 'proxy', 'common.middleware.s3api.s3api'):
        importlib.import_module('swift.' + module + ('' if '.' in module else '.server'))
    servers = {}
    for kind in (*STORAGE, 'proxy'):
        pid = os.fork()
        if pid == 0:
            serve(folder, kind)
        servers[pid] = kind
    pid, status = os.wait()
    print('the', servers[pid], 'server ended with status', os.waitstatus_to_exitcode(status), file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == '__main__':
    main(*sys.argv[1:])
