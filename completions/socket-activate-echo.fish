# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_socket_activate_echo_global_optspecs
    string join \n d/debug s/sdnotify t/start-sleep= connections-max= exit-idle-time= connections-max-per-source= idle-timeout= unread-bytes-max= busy-poll= keep-connections info= workers= sandbox= generate= h/help V/version
end

function __fish_socket_activate_echo_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_socket_activate_echo_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_socket_activate_echo_using_subcommand
    set -l cmd (__fish_socket_activate_echo_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s t -l start-sleep -d 'Wait before the first receive [default: 0]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l connections-max -d 'Serve at most N connections at the same time' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l exit-idle-time -d 'End when nothing has happened for this long [default: never]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l connections-max-per-source -d 'Serve at most N connections of one source at the same time' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l idle-timeout -d 'End a connection on which nothing moves for so long' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l unread-bytes-max -d 'Keep at most so many bytes for all peers that do not read' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l busy-poll -d 'Poll for the next event before a thread sleeps' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l info -d 'Answer on the sockets of this fd name with what the server sees' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l workers -d 'Serve with N threads' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l sandbox -d 'Give up every right that an echo does not need' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l generate -d 'Write the man pages and completions below DIR' -r -f -a "(__fish_complete_directories)"
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s d -l debug -d 'Log a line for each receive and send'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s s -l sdnotify -d 'Send READY=1 to the service manager'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l keep-connections -d 'Keep connections over a restart of the service'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s V -l version -d 'Print version'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "serve" -d 'Echo on the sockets that were passed to it'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "activate" -d 'Bind sockets and, on the first traffic, run a command with them'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "probe" -d 'Send to echo servers, verify what comes back, and say what is wrong'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "bench" -d 'Put load on echo servers and report throughput and latency'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "inspect" -d 'Explain the file descriptors that were passed to it'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "conform" -d 'Check whether an engine passes sockets on as it should'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s t -l start-sleep -d 'Wait before the first receive [default: 0]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l connections-max -d 'Serve at most N connections at the same time' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l exit-idle-time -d 'End when nothing has happened for this long [default: never]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l connections-max-per-source -d 'Serve at most N connections of one source at the same time' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l idle-timeout -d 'End a connection on which nothing moves for so long' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l unread-bytes-max -d 'Keep at most so many bytes for all peers that do not read' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l busy-poll -d 'Poll for the next event before a thread sleeps' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l info -d 'Answer on the sockets of this fd name with what the server sees' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l workers -d 'Serve with N threads' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l sandbox -d 'Give up every right that an echo does not need' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s d -l debug -d 'Log a line for each receive and send'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s s -l sdnotify -d 'Send READY=1 to the service manager'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l keep-connections -d 'Keep connections over a restart of the service'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s l -l listen -d 'Bind this address; may be repeated' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l fdname -d 'Name of the sockets in LISTEN_FDNAMES' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l connections-max -d 'With --accept: at most N connections at the same time' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s E -l setenv -d 'Set a variable in COMMAND\'s environment' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l backlog -d 'Length of the queue of connections to accept, for listen(2)' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s a -l accept -d 'Run one COMMAND for each connection'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l inetd -d 'Pass the socket as standard input and output'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l now -d 'Run COMMAND at once, not on the first traffic'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l restart -d 'Hold the sockets, and run COMMAND again for new traffic'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s c -l count -d 'Messages to send to each address' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s s -l size -d 'Bytes of each message' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s t -l timeout -d 'Time limit for connect and each reply' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s w -l wait -d 'Retry until something listens, within --timeout'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -l json -d 'Print one JSON document instead of rows'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -l info -d 'Ask each ADDR what its server sees, and print the answer'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s i -l interactive -d 'Send the lines of standard input to one ADDR'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s m -l mode -d 'Kind of load' -r -f -a "pingpong\t'One message in flight on each connection or datagram socket'
bulk\t'Streams, written and read as fast as possible'
flood\t'Datagrams with many in flight; counts the lost ones'
idle\t'Connections without traffic: their memory, then whether each still answers'
cold\t'Starts each --run many times, activated on ADDR: time from fork to the first echo'"
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s c -l connections -d 'Connections, or datagram sockets' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s s -l size -d 'Bytes of each message [default: 64; bulk: 65536]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s d -l duration -d 'Measured time of each round' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s w -l warmup -d 'Load before the measured time of each round' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s r -l rounds -d 'Rounds for each server' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l rate -d 'Send N messages a second, on a schedule' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l window -d 'With --mode flood: datagrams in flight on each socket' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s t -l timeout -d 'Time limit for connect and each reply' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l congestion -d 'TCP congestion control of this client, for example reno' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l cpu -d 'Run on this CPU only' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l server-pid -d 'The server\'s process, for its CPU time and memory' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l run -d 'With --mode cold: a server to start' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l plot -d 'Write the latency distribution as an SVG image' -r -F
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l compare -d 'Take turns between servers and report ratios'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l busy -d 'Poll instead of sleeping'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l verify -d 'With --mode bulk: compare every byte'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l gso -d 'With --mode flood: send many datagrams with one call'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l json -d 'Print one JSON document instead of tables'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand inspect" -l json -d 'Print one JSON document instead of a table'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand inspect" -l notify -d 'Send one message of each kind of sd_notify(3) to NOTIFY_SOCKET'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l format -d 'How to print the results' -r -f -a "table\t'A row for each case'
tap\t'TAP version 13'
junit\t'JUnit XML'
json\t'One JSON document'"
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l case -d 'Run only the cases whose name matches; may be repeated' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l expect -d 'A file of known results' -r -F
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l timeout -d 'How long to wait for each answer and each end [default: 30]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l vsock-mux -d 'Check a hypervisor\'s vsock multiplexer instead of a COMMAND' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -l list -d 'List the cases instead of running them'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand conform" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "serve" -d 'Echo on the sockets that were passed to it'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "activate" -d 'Bind sockets and, on the first traffic, run a command with them'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "probe" -d 'Send to echo servers, verify what comes back, and say what is wrong'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "bench" -d 'Put load on echo servers and report throughput and latency'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "inspect" -d 'Explain the file descriptors that were passed to it'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "conform" -d 'Check whether an engine passes sockets on as it should'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect conform help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c socket-activate-echo -n 'string match --quiet --regex "^([^:]*=)?(tcp|udp|vsock|vsock-dgram|vsock-seqpacket|mptcp|sctp|sctp-seqpacket|udplite):" -- (commandline --current-token --cut-at-cursor)' -f
complete -c socket-activate-echo -n 'string match --quiet --regex "^([^:]*=)?(tcp|udp|vsock|vsock-dgram|vsock-seqpacket|mptcp|sctp|sctp-seqpacket|udplite):" -- (commandline --current-token --cut-at-cursor)' -s l -l listen -r -f
