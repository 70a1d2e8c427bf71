# shellcheck shell=bash
# Sample records for the quickstart: invented, the same on every run, a few small ones and two of some MiB. Sourced by
# quickstart.sh, not executed.

# make_sample FOLDER
make_sample() {
    rm -rf "$1"
    mkdir -p "$1/letters" "$1/imaging" "$1/laboratory"
    sample_patients >"$1/patients.csv"
    sample_letter 'Ada Example' 'fracture of the left radius, conservative treatment' >"$1/letters/discharge letter 1.txt"
    sample_letter 'Bo Muster' 'no acute finding in the chest radiograph' >"$1/letters/discharge letter 2.txt"
    sample_results >"$1/laboratory/results.json"
    : >"$1/laboratory/pending.txt"
    sample_scan 1 3 >"$1/imaging/thorax-0001.dcm"
    sample_scan 2 5 >"$1/imaging/thorax-0002.dcm"
}

sample_patients() {
    awk 'BEGIN {
        srand(7)
        print "patient,born,department,admitted,diagnosis"
        split("S52.5 J18.9 I10 E11.9 M54.5 Z00.0", code, " ")
        split("radiology surgery cardiology oncology", department, " ")
        for (i = 1; i <= 20000; i++)
            printf "P%06d,%d-%02d-%02d,%s,2026-%02d-%02d,%s\n", i, 1930 + int(90 * rand()), 1 + int(12 * rand()),
                1 + int(28 * rand()), department[1 + int(4 * rand())], 1 + int(10 * rand()), 1 + int(28 * rand()),
                code[1 + int(6 * rand())]
    }'
}

sample_letter() {
    printf 'Department of Radiology\nDischarge letter\n\nPatient: %s\nFinding: %s.\n\nThis person is invented.\n' "$1" "$2"
}

sample_results() {
    awk 'BEGIN {
        srand(11)
        for (i = 1; i <= 400; i++)
            printf "{\"patient\":\"P%06d\",\"test\":\"HbA1c\",\"value\":%.1f,\"unit\":\"%%\"}\n", i, 4.5 + 5 * rand()
    }'
}

# sample_scan SEED MIB: what a DICOM file begins with, then noise as of a scanner.
sample_scan() {
    head -c 128 /dev/zero
    printf 'DICM'
    LC_ALL=C awk -v seed="$1" -v bytes=$(($2 << 20)) 'BEGIN {
        srand(seed)
        for (i = 0; i < bytes; i++) printf "%c", 1 + int(255 * rand())
    }'
}
