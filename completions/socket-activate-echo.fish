# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_socket_activate_echo_global_optspecs
    string join \n d/debug s/sdnotify t/start-sleep= connections-max= busy-poll= workers= h/help V/version
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

complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s t -l start-sleep -d 'Wait this long before anything is received, to see what clients do meanwhile' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l connections-max -d 'Connections at the same time; more wait in the kernel\'s backlog [default: what the descriptor limit allows]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l busy-poll -d 'Look for the next event for a while before sleeping: `auto` while that has lately paid and nobody else needs the processor, `off`, or always for this number of microseconds. It answers a lone client two to four times as fast, for up to one whole processor while clients are active' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -l workers -d 'Threads that share the listening sockets; `auto` is one for each processor' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s d -l debug -d 'Print a line for each receive and send: bytes, fd name, peer'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s s -l sdnotify -d 'Tell the service manager READY=1 through NOTIFY_SOCKET once the sockets are served'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -s V -l version -d 'Print version'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "serve" -d 'Echo on the sockets that were handed over'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "activate" -d 'Bind sockets and, on the first traffic, run a command with them'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "probe" -d 'Send to echo servers, verify what comes back, and say what is wrong'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "bench" -d 'Put load on echo servers and report throughput and latency'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "inspect" -d 'Explain the file descriptors that were handed over'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s t -l start-sleep -d 'Wait this long before anything is received, to see what clients do meanwhile' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l connections-max -d 'Connections at the same time; more wait in the kernel\'s backlog [default: what the descriptor limit allows]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l busy-poll -d 'Look for the next event for a while before sleeping: `auto` while that has lately paid and nobody else needs the processor, `off`, or always for this number of microseconds. It answers a lone client two to four times as fast, for up to one whole processor while clients are active' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -l workers -d 'Threads that share the listening sockets; `auto` is one for each processor' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s d -l debug -d 'Print a line for each receive and send: bytes, fd name, peer'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s s -l sdnotify -d 'Tell the service manager READY=1 through NOTIFY_SOCKET once the sockets are served'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s l -l listen -d 'Bind this address; may be repeated [default: the demo set, see below]. A unix socket file that a process left behind is replaced; a living one, or another file, never is' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l fdname -d 'Name of the sockets in LISTEN_FDNAMES: one for all, or one for each -l in turn, also joined by colons [default: the scheme of ADDR; with --accept: connection]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l connections-max -d 'With --accept: connections at the same time; more wait in the kernel\'s backlog' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s E -l setenv -d 'Set an environment variable of COMMAND; may be repeated. A bare NAME has to be set in ours, which COMMAND inherits as a whole' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l backlog -d 'Connections that may wait to be accepted, for listen(2)' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s a -l accept -d 'Accept connections here and run one COMMAND for each, as Accept=yes does'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l inetd -d 'Hand the socket over as standard input and output, as inetd does'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -l now -d 'Run COMMAND at once instead of on the first traffic'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand activate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s c -l count -d 'Messages to send to each address, over one connection' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s s -l size -d 'Bytes of each message: over a stream up to 1073741824, else as many as one packet of the family takes (UDP: 65507 over IPv4, 65527 over IPv6; unix: the send buffer); 0 is an empty datagram' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s t -l timeout -d 'How long to wait for a connection, and for each reply to begin and to go on: the first may start a container or pull its image' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s w -l wait -d 'Retry until something listens, for at most --timeout; the wait for the reply comes after'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -l json -d 'Print one JSON document instead of rows'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s i -l interactive -d 'Send the lines of standard input to one ADDR, and show the echo of each with its time'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s m -l mode -d 'The kind of load' -r -f -a "pingpong\t'One message in flight on each connection; for datagrams, on each socket'
bulk\t'Streams, written and read as fast as they go'
flood\t'Datagrams with many in flight; counts the lost ones'
idle\t'Connections that do nothing: memory of each, then whether each still answers'
cold\t'Starts: from fork to the first echo, through activation, of each --run; ADDR is what to bind'"
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s c -l connections -d 'Connections, or datagram sockets' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s s -l size -d 'Bytes of a message, up to 1073741824; with bulk, of a write [default: 64; bulk: 65536]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s d -l duration -d 'How long a round is measured' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s w -l warmup -d 'How long a round runs before it is measured' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s r -l rounds -d 'Rounds against each server, up to 1000 [default: 1; with --compare 5; cold: 100 starts]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l rate -d 'Send on a schedule of N messages a second over all connections, whatever the server does; a latency then begins when its message was due' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l window -d 'Datagrams in flight on each socket of a flood; 0 is no limit [default: 256; with --gso 4096]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s t -l timeout -d 'How long to wait for a connection and for a reply' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l congestion -d 'Congestion control of our own end of TCP, for example reno' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l cpu -d 'Run on this CPU only' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l server-pid -d 'The server\'s process, for its CPU time and memory [default: who holds the socket]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l run -d 'With --mode cold: a server to start, in words, without a shell; may be repeated [default: our own `serve`]' -r
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l plot -d 'Write the distribution of the latencies as an SVG picture' -r -F
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l compare -d 'Take turns between the servers, and report each one\'s ratio to the first, round by round'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l busy -d 'Poll instead of sleeping: the client\'s own wake-ups leave the latencies'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l verify -d 'Compare every byte of bulk, and wait until all of it is back'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l gso -d 'Flood with trains of datagrams that the kernel cuts (UDP_SEGMENT)'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -l json -d 'Print one JSON document instead of tables; of a run that fails it has the error'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand inspect" -l json -d 'Print one JSON document instead of a table'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "serve" -d 'Echo on the sockets that were handed over'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "activate" -d 'Bind sockets and, on the first traffic, run a command with them'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "probe" -d 'Send to echo servers, verify what comes back, and say what is wrong'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "bench" -d 'Put load on echo servers and report throughput and latency'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "inspect" -d 'Explain the file descriptors that were handed over'
complete -c socket-activate-echo -n "__fish_socket_activate_echo_using_subcommand help; and not __fish_seen_subcommand_from serve activate probe bench inspect help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
